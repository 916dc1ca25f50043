// What the tests of the loader share.

#ifndef MESH_CONFIG_LOADER_TEST_UTIL_H_
#define MESH_CONFIG_LOADER_TEST_UTIL_H_

#include <ostream>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "mesh/config/loader.h"

namespace mesh::config {

// The only service of a configuration.
inline options::ServiceOptions OnlyService(
    const absl::StatusOr<options::MeshOptions>& options) {
  EXPECT_TRUE(options.ok()) << options.status();
  if (!options.ok() || options->services.size() != 1) {
    ADD_FAILURE() << "not one service";
    return {};
  }
  return *options->services.begin()->second;
}

inline std::string MessageOf(const absl::Status& status) {
  return std::string(status.message());
}

inline std::string ErrorOf(absl::string_view text,
                           const std::string& name = "mesh.yaml") {
  const absl::StatusOr<options::MeshOptions> options = LoadText(text, name);
  EXPECT_FALSE(options.ok()) << text;
  if (options.ok()) return "";
  EXPECT_EQ(options.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(options.status().message());
}

inline const cluster::EndpointSet& StaticSet(
    const options::ServiceOptions& service) {
  return *std::get<cluster::EndpointSetPtr>(service.source);
}

// A text, and the error that it is refused with.
struct BadText {
  const char* name;
  std::string text;
  std::string error;
};

inline void PrintTo(const BadText& bad, std::ostream* os) { *os << bad.name; }

class BadTextTest : public testing::TestWithParam<BadText> {};

// A service with an empty list of endpoints and `rest`, which begins at column
// 5 of line 4.
inline std::string Service(absl::string_view rest) {
  return absl::StrCat("services:\n  cart:\n    endpoints: []\n    ", rest,
                      "\n");
}

// A service whose endpoints are `list`, which begins at 3:16.
inline std::string Endpoints(absl::string_view list) {
  return absl::StrCat("services:\n  cart:\n    endpoints: ", list, "\n");
}

// A service with a retry policy `retry`, which begins at 4:22.
inline std::string Retry(absl::string_view retry) {
  return Service(absl::StrCat("policy: {retry: {", retry, "}}"));
}

}  // namespace mesh::config

#endif  // MESH_CONFIG_LOADER_TEST_UTIL_H_
