#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/duration.pb.h"
#include "gtest/gtest.h"
#include "mesh/config/loader.h"
#include "mesh/config/options_text_test_util.h"
#include "mesh/v1/annotations.pb.h"
#include "mesh/v1/config.pb.h"

namespace mesh::config {
namespace {

void ForEachField(
    const google::protobuf::Descriptor* type,
    std::set<const google::protobuf::Descriptor*>* seen,
    const std::function<void(const google::protobuf::FieldDescriptor*)>&
        visit) {
  if (!seen->insert(type).second) return;
  for (int i = 0; i < type->field_count(); ++i) {
    visit(type->field(i));
    if (type->field(i)->message_type() != nullptr) {
      ForEachField(type->field(i)->message_type(), seen, visit);
    }
  }
}

TEST(SchemaTest, HasOnlyTypesThatTheReaderKnows) {
  using google::protobuf::FieldDescriptor;
  std::set<const google::protobuf::Descriptor*> seen = {
      google::protobuf::Duration::descriptor()};
  for (const auto* root :
       {v1::Config::descriptor(), v1::EndpointList::descriptor()}) {
    ForEachField(root, &seen, [](const FieldDescriptor* field) {
      switch (field->cpp_type()) {
        case FieldDescriptor::CPPTYPE_BOOL:
        case FieldDescriptor::CPPTYPE_DOUBLE:
        case FieldDescriptor::CPPTYPE_ENUM:
        case FieldDescriptor::CPPTYPE_INT32:
        case FieldDescriptor::CPPTYPE_UINT32:
        case FieldDescriptor::CPPTYPE_UINT64:
        case FieldDescriptor::CPPTYPE_STRING:
        case FieldDescriptor::CPPTYPE_MESSAGE:
          break;
        default:
          ADD_FAILURE() << field->full_name();
      }
      if (field->is_map()) return;
      if (field->is_repeated()) {
        EXPECT_TRUE(field->cpp_type() == FieldDescriptor::CPPTYPE_STRING ||
                    field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE)
            << field->full_name();
      }
    });
  }
}

// A field of a group of the configuration.
struct SchemaField {
  std::string path;  // "services.a.caps.max_calls"
  const google::protobuf::FieldDescriptor* field;
  std::string default_text;  // Empty: none.

  // The configuration with only `value` for this field, and `beside` in front
  // of it.
  std::string With(const std::string& value,
                   const std::string& beside = "") const {
    std::string text = beside + field->name() + ": " + value;
    const std::vector<std::string> keys = absl::StrSplit(path, '.');
    for (size_t i = keys.size() - 1; i-- > 0;) {
      text = absl::StrCat(keys[i] == "a" ? "a: {endpoints: [], " : keys[i],
                          keys[i] == "a" ? "" : ": {", text, "}");
    }
    return text;
  }
};

// Every field whose meaning Dump writes, by walking the schema from the whole
// configuration down.
std::vector<SchemaField> FieldsOf(const google::protobuf::Descriptor* type,
                                  const std::string& path) {
  // What says where endpoints are and how to connect has tests of its own.
  static const std::set<std::string> kOthers = {
      "endpoints",    "endpoints_file", "dns",     "tls",
      "channel_args", "authority",      "methods", "grpc_service_config"};
  std::vector<SchemaField> fields;
  for (int i = 0; i < type->field_count(); ++i) {
    const auto* field = type->field(i);
    const std::string field_path =
        absl::StrCat(path, path.empty() ? "" : ".", field->name());
    if (kOthers.count(field->name()) > 0 && path == "services.a") continue;
    // So has security.
    if (field_path == "identity" || field_path == "server") continue;
    const auto* message =
        field->is_map() ? field->message_type()->map_value()->message_type()
                        : field->message_type();
    if (message != nullptr &&
        message != google::protobuf::Duration::descriptor()) {
      const auto inner =
          FieldsOf(message, field->is_map() ? field_path + ".a" : field_path);
      fields.insert(fields.end(), inner.begin(), inner.end());
    } else {
      fields.push_back({field_path, field,
                        field->options().GetExtension(v1::rules).default_()});
    }
  }
  return fields;
}

std::string TextOf(const std::string& text) {
  const absl::StatusOr<options::MeshOptions> options = LoadText(text, "m");
  return options.ok() ? OptionsText(*options)
                      : absl::StrCat(options.status().ToString(), "\n", text);
}

// What some fields can't do without.
std::string Beside(const std::string& path) {
  static const std::map<std::string, std::string> kBeside = {
      {"rate_limit.mode", "per_second: 5, "},
      {"rate_limit.burst", "per_second: 5, "},
      {"fault.mode", "abort_percent: 5, "},
      {"fault.abort_code", "abort_percent: 5, "},
      {"fault.delay", "delay_percent: 5, "},
      {"fault.delay_percent", "delay: 5s, "},
      {"connections.keepalive_timeout", "keepalive_time: 60s, "}};
  for (const auto& [suffix, beside] : kBeside) {
    if (absl::EndsWith(path, suffix)) return beside;
  }
  return "";
}

TEST(SchemaTest, SaysTheDefaultsThatTheOptionsHave) {
  // `absent` stands for each field's value where the field is left out.
  const std::vector<SchemaField> fields =
      FieldsOf(v1::Config::descriptor(), "");
  EXPECT_GT(fields.size(), 60u);
  for (const SchemaField& field : fields) {
    if (field.default_text.empty()) continue;
    const std::string beside = Beside(field.path);
    std::string absent;
    if (beside.empty()) {
      absent = absl::StartsWith(field.path, "services.")
                   ? "services: {a: {endpoints: []}}"
                   : "{}";
    } else {
      SchemaField other = field;
      const size_t colon = beside.find(": ");
      other.field = field.field->containing_type()->FindFieldByName(
          beside.substr(0, colon));
      const std::string value =
          beside.substr(colon + 2, beside.size() - colon - 4);
      // A delay without a percent that is not 0 would do nothing.
      absent = other.With(value);
      if (field.field->name() == "delay_percent") continue;
    }
    const std::string written = field.With(field.default_text, beside);
    EXPECT_EQ(TextOf(written), TextOf(absent)) << written;
  }
  const auto default_of = [](const char* name) {
    const auto* field =
        google::protobuf::DescriptorPool::generated_pool()->FindFieldByName(
            absl::StrCat("mesh.v1.", name));
    return field == nullptr
               ? std::string("no such field")
               : field->options().GetExtension(v1::rules).default_();
  };
  EXPECT_EQ(default_of("FaultInjection.delay_percent"), "0");
  EXPECT_EQ(options::FaultOptions().delay_share, 0);
  EXPECT_EQ(default_of("Dns.min_refresh"), "1s");
  EXPECT_EQ(options::DnsOptions().min_refresh, absl::Seconds(1));
  EXPECT_EQ(default_of("Dns.max_refresh"), "300s");
  EXPECT_EQ(options::DnsOptions().max_refresh, absl::Seconds(300));
  EXPECT_EQ(default_of("Endpoint.weight"),
            absl::StrCat(cluster::Endpoint().weight));
  EXPECT_EQ(default_of("Endpoint.priority"),
            absl::StrCat(cluster::Endpoint().priority));
}

TEST(SchemaTest, SaysADefaultWhereverTheOptionsHaveOne) {
  // Those for which being absent is a meaning of its own, which the comment
  // says.
  const std::set<std::string> without = {
      "services.a.policy.timeout",
      "services.a.policy.idempotent",
      "services.a.policy.wait_for_ready",
      "services.a.policy.idle_timeout",
      "services.a.policy.retry.attempt_timeout",
      "services.a.policy.rate_limit.per_second",
      "services.a.policy.rate_limit.burst",
      "services.a.policy.fault.delay",
      "services.a.connections.keepalive_time",
      "services.a.guards.rate_limit.per_second",
      "services.a.guards.rate_limit.burst"};
  for (const SchemaField& field : FieldsOf(v1::Config::descriptor(), "")) {
    EXPECT_EQ(field.default_text.empty(), without.count(field.path) > 0)
        << field.path;
  }
}

TEST(SchemaTest, HasNoFieldThatTheOptionsDoNotLearnOf) {
  using google::protobuf::FieldDescriptor;
  for (const SchemaField& field : FieldsOf(v1::Config::descriptor(), "")) {
    // Values of which at least one is good and not the default, or two where
    // something stands beside it.
    std::vector<std::string> values;
    const v1::Rules& rules = field.field->options().GetExtension(v1::rules);
    switch (field.field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_BOOL:
        values = {"true", "false"};
        break;
      case FieldDescriptor::CPPTYPE_ENUM:
        values = field.field->name() == "mode"
                     ? std::vector<std::string>{"off", "observe", "enforce"}
                     : std::vector<std::string>{"round_robin"};
        break;
      case FieldDescriptor::CPPTYPE_STRING:
        values = {"[INTERNAL]", "INTERNAL", "ABORTED", "/a.B/C"};
        break;
      case FieldDescriptor::CPPTYPE_MESSAGE:
        values = {absl::StrCat(rules.min(), "s"), "100ms", "12s", "200s"};
        break;
      default:
        values = {absl::StrCat(rules.min()), "0.5", "3", "20", "200"};
        break;
    }
    const std::string beside = Beside(field.path);
    std::set<std::string> meanings;
    for (const std::string& value : values) {
      const auto options = LoadText(field.With(value, beside), "m");
      if (options.ok()) meanings.insert(OptionsText(*options));
    }
    meanings.insert(TextOf(absl::StartsWith(field.path, "services.")
                               ? "services: {a: {endpoints: []}}"
                               : "{}"));
    // What stands beside it changes the meaning too.
    EXPECT_GE(meanings.size(), beside.empty() ? 2u : 3u)
        << field.With(values[0], beside);
  }
}

}  // namespace
}  // namespace mesh::config
