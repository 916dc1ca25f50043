// Names that stand in a configuration as keys, however long and odd.

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/config/loader_test_util.h"
#include "mesh/config/text.h"
#include "mesh/v1/config.pb.h"

namespace mesh::config {
namespace {

// A method of a service whose name has more bytes than a message quotes.
std::string Method(absl::string_view name) {
  return absl::StrCat("com.example.", std::string(80, 'p'), ".Orders/", name);
}

// A service with a policy `first` of one such method and `second` of another.
std::string Methods(absl::string_view first, absl::string_view second) {
  return Service(absl::StrCat("methods:\n      ", Method("Get"), ": ", first,
                              "\n      ", Method("Put"), ": ", second));
}

TEST(KeysTest, LongNamesThatBeginAlikeAreTakenForWhatTheyAre) {
  const auto good = LoadText(
      Methods("{retry: {codes: [ABORTED, UNAVAILABLE]}}", "{timeout: 1s}"),
      "mesh.yaml");
  EXPECT_TRUE(good.ok()) << good.status();
}

TEST(KeysTest, AnErrorUnderALongNameHasItsOwnPlaceAndName) {
  const std::string put =
      absl::StrCat("services.cart.methods[\"", Method("Put"), "\"]");
  EXPECT_EQ(
      ErrorOf(Methods("{timeout: bad}", "{timeout: 99h}")),
      absl::StrCat("mesh.yaml:5:122: services.cart.methods[\"", Method("Get"),
                   "\"].timeout must be a duration such as 250ms, 1.5s, "
                   "2m or 1h, but is the string \"bad\".\n"
                   "mesh.yaml:6:122: ",
                   put, ".timeout must be in 1ms..24h, but is 99h."));
  EXPECT_EQ(
      ErrorOf(Methods("{fault: {abort_code: INTERNAL, abort_percent: 1}}",
                      "{fault: {abort_code: INTERNAL}}")),
      absl::StrCat("mesh.yaml:6:133: ", put,
                   ".fault.abort_code does nothing without abort_percent."));
}

TEST(KeysTest, NoTwoKeysHaveOnePath) {
  const std::vector<std::pair<std::string, std::string>> pairs = {
      {std::string(100, 'a') + "/b", std::string(100, 'a') + "/c"},
      {"\x01", "\\x01"},
      {"\"", "\\\""},
      {"\u009b", "\\u009b"},
      {"a]", "a"},
      {"", "\"\""}};
  for (const auto& [a, b] : pairs) {
    EXPECT_NE(KeyPath("x", a), KeyPath("x", b));
  }
}

TEST(KeysTest, ControlCharactersOfAKeyAreEscaped) {
  EXPECT_EQ(KeyPath("x", "\u009b31m\u00e9\x1b"),
            "x[\"\\u009b31m\u00e9\\x1b\"]");
  EXPECT_EQ(Quoted("\u0080\u009f\u00a0"), "\"\\u0080\\u009f\u00a0\"");
}

TEST(KeysTest, AKeyThatIsTooLongIsAllThatIsSaidOfWhatIsUnderIt) {
  const std::string name(254, 'n');
  const std::string begin(80, 'n');
  EXPECT_EQ(ErrorOf(absl::StrCat("services: {", name,
                                 ": {endpoints: [x, y], polcy: {}}}")),
            absl::StrCat("mesh.yaml:1:12: services[\"", begin,
                         "...\"]: a name must have at most 253 bytes, but has "
                         "254."));
  EXPECT_TRUE(LoadText(absl::StrCat("services: {", name.substr(1),
                                    ": {endpoints: []}}"),
                       "mesh.yaml")
                  .ok());
  v1::Config config;
  (*config.mutable_services())[name].mutable_endpoints_file()->set_path("a");
  EXPECT_EQ(MessageOf(FromProto(config).status()),
            absl::StrCat("services[\"", begin,
                         "...\"]: a name must have at most 253 bytes, but has "
                         "254."));
}

// YAML takes a key of at most 1,024 characters, counted as they are written.
TEST(KeysTest, TheLongestKeyOfAnyCharacterIsPrintedAndReadsBack) {
  for (const std::string character :
       {"k", "\x01", "\"", "\\", "\u0085", "\u2028", "\ufeff", "\u00e9",
        "\U0001F600"}) {
    std::string key;
    while (key.size() + character.size() <= kMostOfKey) key += character;
    v1::Config config;
    v1::Endpoint& endpoint =
        *(*config.mutable_services())["cart"].add_endpoints();
    endpoint.set_address("10.0.0.1:80");
    (*endpoint.mutable_metadata())[key] = "1";
    const auto options = FromProto(config);
    ASSERT_TRUE(options.ok()) << options.status();
    const auto again =
        LoadText(options->written->Text(options->telemetry), "mesh.yaml");
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(StaticSet(OnlyService(again)).endpoints[0].metadata().count(key),
              1u);
  }
}

}  // namespace
}  // namespace mesh::config
