// The readers of the larger parts of a spec (internal to common/oci); see json_reader.h.
#pragma once

#include "common/oci/json_reader.h"
#include "common/oci/spec.h"

namespace kata::oci {

void read(JsonReader& in, Process& out);
void read(JsonReader& in, IdMapping& out);
void read(JsonReader& in, Linux& out);
void read(JsonReader& in, Resources& out);
void read(JsonReader& in, Seccomp& out);

}  // namespace kata::oci
