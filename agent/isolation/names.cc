#include "agent/isolation/names.h"

#include <algorithm>

#include <unistd.h>

#include "agent/isolation/call_error.h"

namespace kata::isolation {

Status set_names(const oci::Spec& spec) {
  bool own = std::ranges::any_of(spec.linux.namespaces, [](const oci::Namespace& entry) {
    return entry.type == oci::NamespaceType::kUts;
  });
  if (!spec.hostname.empty()) {
    if (!own)
      return fail(Code::kInvalidArgument, "unable to set hostname without a private UTS namespace");
    if (::sethostname(spec.hostname.data(), spec.hostname.size()) < 0)
      return fail_call("sethostname");
  }
  if (!spec.domainname.empty()) {
    if (!own)
      return fail(Code::kInvalidArgument,
                  "unable to set domainname without a private UTS namespace");
    if (::setdomainname(spec.domainname.data(), spec.domainname.size()) < 0)
      return fail_call("setdomainname");
  }
  return {};
}

}  // namespace kata::isolation
