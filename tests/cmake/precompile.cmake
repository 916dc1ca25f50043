# Included in the test's build of mesh only: half the time of compiling it is
# the libraries' headers.
cmake_language(DEFER CALL target_precompile_headers mesh_objects PRIVATE
  <grpcpp/grpcpp.h> <absl/container/flat_hash_map.h> <absl/status/statusor.h>
  <absl/strings/str_cat.h> <absl/strings/str_format.h>
  <absl/strings/str_split.h> <absl/time/time.h> <algorithm> <atomic> <deque>
  <functional> <map> <memory> <optional> <string> <thread> <unordered_map>
  <vector>)
