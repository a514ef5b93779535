// What listens at listenerPath of a seccomp profile.
#pragma once

/// Returns when it listens at the Unix socket `path`. A process in the background, for ten seconds
/// at most, takes one descriptor there and answers all its calls with ENOMEDIUM.
void start_seccomp_agent(const char* path);
