#include "runtime/cli/version.h"

#include <cstdlib>
#include <iostream>

namespace kata::cli {

int run_version() {
  std::cout << "kata-runtime  : " KATA_VERSION "\n";
  return EXIT_SUCCESS;
}

}  // namespace kata::cli
