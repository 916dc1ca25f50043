// Writes what people and editors need to know about the configuration, from the
// schema itself (its fields, their Rules and their comments):
//
//   schema_gen DESCRIPTOR_SET reference|schema|endpoints-schema > FILE
//
// reference is docs/reference/config.md, schema the JSON Schema (draft 2020-12)
// of a configuration, endpoints-schema that of an endpoints file. The
// descriptor set must have source information.

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "mesh/config/reader.h"
#include "mesh/config/text.h"
#include "mesh/v1/annotations.pb.h"

namespace mesh::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::SourceLocation;

// --- What the schema says ---

// The comment in front of `entity`, one line a paragraph.
template <typename Entity>
std::string Comment(const Entity& entity) {
  SourceLocation location;
  if (!entity.GetSourceLocation(&location)) return "";
  std::string text;
  for (const absl::string_view line :
       absl::StrSplit(location.leading_comments, '\n')) {
    const absl::string_view stripped = absl::StripAsciiWhitespace(line);
    if (stripped.empty()) {
      if (!text.empty() && text.back() != '\n') text += '\n';
    } else {
      absl::StrAppend(&text, text.empty() || text.back() == '\n' ? "" : " ",
                      stripped);
    }
  }
  return std::string(absl::StripAsciiWhitespace(text));
}

// The value that a map holds, or the field itself.
const FieldDescriptor& ValueOf(const FieldDescriptor& field) {
  return field.is_map() ? *field.message_type()->map_value() : field;
}

// The message that a field holds, null if it is none.
const Descriptor* MessageOf(const FieldDescriptor& field) {
  const FieldDescriptor& value = ValueOf(field);
  return IsDuration(value) ? nullptr : value.message_type();
}

// `root` and every message in it, each once, in order of first mention.
std::vector<const Descriptor*> Reachable(const Descriptor* root) {
  std::vector<const Descriptor*> found = {root};
  for (size_t i = 0; i < found.size(); ++i) {
    for (int j = 0; j < found[i]->field_count(); ++j) {
      const Descriptor* message = MessageOf(*found[i]->field(j));
      if (message != nullptr &&
          std::find(found.begin(), found.end(), message) == found.end()) {
        found.push_back(message);
      }
    }
  }
  return found;
}

// The field whose value alone may stand for a message, besides a map.
std::vector<std::string> Shorthands(const Descriptor& message) {
  if (message.full_name() == "mesh.v1.Endpoint") return {"address"};
  if (message.full_name() == "mesh.v1.ChannelArgument") {
    return {"integer", "text", "boolean"};
  }
  return {};
}

// Fields of which a message must have exactly one.
std::vector<std::string> OneOf(const Descriptor& message) {
  if (message.full_name() == "mesh.v1.Service") {
    return {"endpoints", "endpoints_file", "dns"};
  }
  if (message.full_name() == "mesh.v1.ServiceConfig") return {"path", "json"};
  if (message.full_name() == "mesh.v1.HeaderMatch") {
    return {"exact", "prefix", "present", "absent"};
  }
  if (message.full_name() == "mesh.v1.ChannelArgument") {
    return {"integer", "text", "boolean"};
  }
  return {};
}

// Whether what is absent in a message may come from another one.
bool Inherits(const Descriptor& message) {
  const Descriptor* policy =
      message.file()->FindMessageTypeByName("MethodPolicy");
  const std::vector<const Descriptor*> all = Reachable(policy);
  return std::find(all.begin(), all.end(), &message) != all.end();
}

// Whether `name: null` is as good as no field: for a group, where an empty one
// is good.
bool MayBeNull(const FieldDescriptor& field) {
  if (RulesOf(field).required() || IsRules(field)) return false;
  if (!IsGroup(field) || field.is_repeated()) return true;
  const Descriptor& group = *field.message_type();
  for (int i = 0; i < group.field_count(); ++i) {
    if (RulesOf(*group.field(i)).required()) return false;
  }
  return OneOf(group).empty();
}

// --- JSON ---

std::string Quote(absl::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (c == '\n') {
      result += "\\n";
    } else {
      result += c;
    }
  }
  return result + "\"";
}

// A JSON value as text: already indented for its depth.
using Members = std::vector<std::pair<std::string, std::string>>;

std::string Indented(absl::string_view json) {
  return absl::StrReplaceAll(json, {{"\n", "\n  "}});
}

std::string Object(const Members& members) {
  if (members.empty()) return "{}";
  return absl::StrCat(
      "{\n  ",
      absl::StrJoin(members, ",\n  ",
                    [](std::string* out, const Members::value_type& member) {
                      absl::StrAppend(out, Quote(member.first), ": ",
                                      Indented(member.second));
                    }),
      "\n}");
}

std::string Array(const std::vector<std::string>& values) {
  return absl::StrCat("[", absl::StrJoin(values, ", "), "]");
}

std::string ArrayOfStrings(const std::vector<std::string>& values) {
  std::vector<std::string> quoted;
  for (const std::string& value : values) quoted.push_back(Quote(value));
  return Array(quoted);
}

std::string Number(double value) { return absl::StrFormat("%.15g", value); }

std::vector<std::string> Names(const EnumDescriptor& type) {
  std::vector<std::string> names;
  for (const EnumName& name : NamesOf(type)) names.push_back(name.name);
  return names;
}

// A pattern for `name` in any case. There is no other way to say that.
std::string AnyCase(absl::string_view name) {
  std::string pattern;
  for (const char c : name) {
    if (absl::ascii_isalpha(c)) {
      const char upper = absl::ascii_toupper(c);
      absl::StrAppend(&pattern, "[", absl::string_view(&c, 1),
                      absl::string_view(&upper, 1), "]");
    } else {
      pattern += c;
    }
  }
  return pattern;
}

// What the reader takes for a name. Those in lower case are what an editor
// offers.
std::string EnumSchema(const EnumDescriptor& type) {
  std::vector<std::string> values, patterns;
  for (const std::string& name : Names(type)) {
    values.push_back(Quote(name));
    patterns.push_back(AnyCase(name));
  }
  for (const std::string& name : Names(type)) {
    if (name == "off") values.push_back("false");
  }
  return Array(
      {Object({{"enum", Array(values)}}),
       Object({{"type", Quote("string")},
               {"pattern", Quote(absl::StrCat(
                               "^(", absl::StrJoin(patterns, "|"), ")$"))}})});
}

// The names of the statuses that a field may have. Empty: it has others.
std::vector<std::string> StatusNames(const FieldDescriptor& field) {
  const bool may_be_cancelled =
      field.full_name() == "mesh.v1.FaultInjection.abort_code";
  if (!may_be_cancelled && field.full_name() != "mesh.v1.RetryPolicy.codes") {
    return {};
  }
  std::vector<std::string> names;
  for (int code = may_be_cancelled ? 1 : 2; code <= 16; ++code) {
    names.push_back(
        absl::StatusCodeToString(static_cast<absl::StatusCode>(code)));
  }
  return names;
}

// Patterns of printable ASCII without spaces; of a method also without "/" and
// "*" in its parts.
constexpr char kGraphic[] = "^[!-~]+$";
constexpr char kMethod[] = "[!-)+-.0-~]+/[!-)+-.0-~]+";
constexpr char kMethods[] = "^[!-)+-.0-~]+/([!-)+-.0-~]+|\\*)$";

// What the keys of a map may be.
std::string KeySchema(const FieldDescriptor& map) {
  Members schema = {{"maxLength", absl::StrCat(kMostOfKey)}};
  if (map.full_name() == "mesh.v1.Config.services" ||
      map.full_name() == "mesh.v1.Service.channel_args") {
    schema.push_back({"pattern", Quote(kGraphic)});
  } else if (map.full_name() == "mesh.v1.Service.methods") {
    schema.push_back({"pattern", Quote(kMethods)});
  }
  return Object(schema);
}

// The comment of a field, with those of the names that it may have.
std::string Description(const FieldDescriptor& field) {
  std::string text = Comment(field);
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
    for (const EnumName& name : NamesOf(*field.enum_type())) {
      absl::StrAppend(&text, " `", name.name, "`: ", Comment(*name.value));
    }
  }
  return text;
}

std::string DefaultJson(const FieldDescriptor& field) {
  absl::string_view text = RulesOf(field).default_();
  if (field.is_repeated()) {
    absl::ConsumePrefix(&text, "[");
    absl::ConsumeSuffix(&text, "]");
    return ArrayOfStrings(absl::StrSplit(text, ", ", absl::SkipEmpty()));
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
    case FieldDescriptor::CPPTYPE_ENUM:
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return Quote(text);
    default:
      return std::string(text);
  }
}

// The schema of one value of `field`.
Members ValueSchema(const FieldDescriptor& field) {
  const v1::Rules& rules = RulesOf(field);
  Members schema;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return {{"type", Quote("boolean")}};
    case FieldDescriptor::CPPTYPE_ENUM:
      return {{"anyOf", EnumSchema(*field.enum_type())}};
    case FieldDescriptor::CPPTYPE_STRING:
      if (const std::vector<std::string> names = StatusNames(field);
          !names.empty()) {
        return {{"enum", ArrayOfStrings(names)}};
      }
      schema = {{"type", Quote("string")}};
      if (field.full_name() == "mesh.v1.Silence.probe_method") {
        schema.push_back({"pattern", Quote(absl::StrCat("^/", kMethod, "$"))});
      }
      if (rules.required()) schema.push_back({"minLength", "1"});
      return schema;
    case FieldDescriptor::CPPTYPE_MESSAGE:
      if (IsDuration(field)) {
        const std::string zero = rules.zero().empty()
                                     ? ""
                                     : absl::StrCat(AnyCase(rules.zero()), "|");
        return {{"type", Quote("string")},
                {"pattern",
                 Quote(absl::StrCat("^(", zero,
                                    "[0-9]+(\\.[0-9]+)?(ns|us|ms|s|m|h))$"))}};
      }
      return {{"$ref",
               Quote(absl::StrCat("#/$defs/", field.message_type()->name()))}};
    default:
      break;
  }
  const bool is_double = field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE;
  const bool is_signed = field.cpp_type() == FieldDescriptor::CPPTYPE_INT32;
  schema = {{"type", Quote(is_double ? "number" : "integer")}};
  if (!rules.zero().empty()) {
    const std::string range =
        absl::StrCat("{\"minimum\": ", Number(rules.min()),
                     ", \"maximum\": ", Number(rules.max()), "}");
    schema.push_back({"anyOf", Array({"{\"const\": 0}", range})});
    return schema;
  }
  if (rules.has_min()) {
    schema.push_back({"minimum", Number(rules.min())});
  } else if (!is_double) {
    schema.push_back({"minimum", is_signed ? "-2147483648" : "0"});
  }
  if (rules.has_max()) {
    schema.push_back({"maximum", Number(rules.max())});
  } else if (!is_double) {
    schema.push_back(
        {"maximum", is_signed ? "2147483647"
                    : field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64
                        ? "18446744073709551615"
                        : "4294967295"});
  }
  return schema;
}

// `schema`, or null.
Members OrNull(Members schema) {
  for (auto& [name, value] : schema) {
    if (name == "type") {
      value = Array({value, Quote("null")});
      return schema;
    }
  }
  return {
      {"anyOf", Array({Object(schema), Object({{"type", Quote("null")}})})}};
}

// A schema by which `name` is there and is not null.
std::string Given(absl::string_view name) {
  return Object({{"required", ArrayOfStrings({std::string(name)})},
                 {"properties", Object({{std::string(name),
                                         R"({"not": {"type": "null"}})"}})}});
}

// Which fields of a message need which others beside them.
std::vector<std::string> Needs(const Descriptor& message) {
  std::vector<std::string> needs;
  if (Inherits(message)) return needs;
  for (int i = 0; i < message.field_count(); ++i) {
    const std::string& needed = RulesOf(*message.field(i)).needs();
    if (needed.empty()) continue;
    needs.push_back(Object(
        {{"if", Given(message.field(i)->name())}, {"then", Given(needed)}}));
  }
  return needs;
}

std::string FieldSchema(const FieldDescriptor& field) {
  Members schema = ValueSchema(ValueOf(field));
  if (field.is_map()) {
    const FieldDescriptor& value = ValueOf(field);
    if (IsGroup(value) && MayBeNull(value)) schema = OrNull(std::move(schema));
    schema = {{"type", Quote("object")},
              {"propertyNames", KeySchema(field)},
              {"additionalProperties", Object(schema)}};
  } else if (field.is_repeated()) {
    const Members one = schema;
    schema = {{"type", Quote("array")}, {"items", Object(one)}};
    if (!StatusNames(field).empty()) {
      schema.push_back({"minItems", "1"});
      schema.push_back({"uniqueItems", "true"});
    }
    if (RulesOf(field).one()) {
      schema = {{"anyOf", Array({Object(one), Object(schema)})}};
    }
  }
  if (MayBeNull(field)) schema = OrNull(std::move(schema));
  std::string description = Description(field);
  if (IsDuration(field) && !RangeText(field).empty()) {
    absl::StrAppend(&description, " ", RangeText(field), ".");
  }
  schema.insert(schema.begin(), {"description", Quote(description)});
  if (!RulesOf(field).default_().empty()) {
    schema.push_back({"default", DefaultJson(field)});
  }
  return Object(schema);
}

std::string MessageSchema(const Descriptor& message) {
  Members properties;
  std::vector<std::string> required;
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    properties.emplace_back(field.name(), FieldSchema(field));
    if (RulesOf(field).required()) required.emplace_back(field.name());
  }
  Members schema = {{"type", Quote("object")},
                    {"properties", Object(properties)},
                    {"additionalProperties", "false"}};
  if (!required.empty()) {
    schema.push_back({"required", ArrayOfStrings(required)});
  }
  std::vector<std::string> alternatives;
  for (const std::string& name : OneOf(message)) {
    alternatives.push_back(Given(name));
  }
  if (!alternatives.empty()) {
    schema.push_back({"oneOf", Array(alternatives)});
  }
  const std::vector<std::string> needs = Needs(message);
  if (!needs.empty()) schema.push_back({"allOf", Array(needs)});
  const std::vector<std::string> shorthands = Shorthands(message);
  if (!shorthands.empty()) {
    std::vector<std::string> forms;
    for (const std::string& field : shorthands) {
      forms.push_back(Object(ValueSchema(*message.FindFieldByName(field))));
    }
    forms.push_back(Object(schema));
    schema = {{"anyOf", Array(forms)}};
  }
  schema.insert(schema.begin(), {"description", Quote(Comment(message))});
  return Object(schema);
}

std::string JsonSchema(const Descriptor& root, absl::string_view title) {
  Members defs;
  for (const Descriptor* message : Reachable(&root)) {
    defs.emplace_back(message->name(), MessageSchema(*message));
  }
  return Object({{"$schema",
                  Quote("https://json-schema.org/draft/2020-12/schema")},
                 {"title", Quote(title)},
                 {"$ref", Quote(absl::StrCat("#/$defs/", root.name()))},
                 {"$defs", Object(defs)}}) +
         "\n";
}

// --- The reference page ---

std::string Link(const Descriptor& message) {
  return absl::StrCat("[", message.name(), "](#",
                      absl::AsciiStrToLower(message.name()), ")");
}

std::string TypeCell(const FieldDescriptor& field) {
  const FieldDescriptor& value = ValueOf(field);
  std::string type;
  if (const Descriptor* message = MessageOf(field)) {
    type = Link(*message);
  } else if (IsDuration(value)) {
    type = "duration";
  } else if (value.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
    type = absl::StrCat("`", absl::StrJoin(Names(*value.enum_type()), "`, `"),
                        "`");
  } else if (value.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    type = "string";
  } else if (value.cpp_type() == FieldDescriptor::CPPTYPE_BOOL) {
    type = "true or false";
  } else if (value.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
    type = "number";
  } else {
    type = "integer";
  }
  if (field.is_map()) return absl::StrCat("map to ", type);
  if (RulesOf(field).one()) return absl::StrCat(type, ", or list of them");
  if (field.is_repeated()) return absl::StrCat("list of ", type);
  return type;
}

std::string Cell(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"|", "\\|"}, {"\n", " "}});
}

std::string Reference(const DescriptorPool& pool) {
  std::string page =
      R"(<!-- Made by `bazel run //docs/reference:update` from mesh/v1/config.proto. -->

# Configuration reference

Every field of the configuration, as YAML or JSON has it and as
`mesh/v1/config.proto` has it for a configuration built in code. The
[guide](../configuration.md) shows how they go together.

- A **duration** is a number with a unit: `ns`, `us`, `ms`, `s`, `m` or `h`
  (`250ms`, `1.5s`). A number without a unit is an error.
- A field that is absent, or empty (`timeout:`), has its default. A group with
  nothing in it (`tls:`) is there, with the defaults of its fields.
- The names that a field may have (`enforce`) are read in any case. Where one is
  `off` it may stand without quotes, and `false` means it too.
- The names of services, methods, arguments and metadata have at most 253 bytes.
- Unknown fields, wrong types and values out of their range are errors. All are
  reported at once, with file, line and column.
- `mesh.schema.json` and `endpoints.schema.json` beside this page are JSON
  Schemas, for editors that complete and check while one writes.

)";
  std::vector<const Descriptor*> messages =
      Reachable(pool.FindMessageTypeByName("mesh.v1.Config"));
  messages.push_back(pool.FindMessageTypeByName("mesh.v1.EndpointList"));
  for (const Descriptor* message : messages) {
    absl::StrAppend(&page, "## ", message->name(), "\n\n", Comment(*message),
                    "\n\n| Field | Type | Default | Range | Meaning |\n",
                    "| --- | --- | --- | --- | --- |\n");
    for (int i = 0; i < message->field_count(); ++i) {
      const FieldDescriptor& field = *message->field(i);
      const v1::Rules& rules = RulesOf(field);
      const std::string range = RangeText(field);
      absl::StrAppend(
          &page, "| `", field.name(), "` | ", TypeCell(field), " | ",
          rules.required()           ? "required"
          : rules.default_().empty() ? ""
                                     : absl::StrCat("`", rules.default_(), "`"),
          " | ", range.empty() ? "" : absl::StrCat("`", range, "`"), " | ",
          Cell(Description(field)), " |\n");
    }
    page += "\n";
  }
  page.pop_back();
  return page;
}

int Main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: schema_gen DESCRIPTOR_SET "
                 "reference|schema|endpoints-schema\n";
    return 2;
  }
  std::ifstream file(argv[1], std::ios::binary);
  google::protobuf::FileDescriptorSet set;
  if (!file || !set.ParseFromIstream(&file)) {
    std::cerr << "schema_gen: " << argv[1] << " is not a descriptor set\n";
    return 1;
  }
  DescriptorPool pool;
  for (const auto& proto : set.file()) {
    if (pool.BuildFile(proto) == nullptr) return 1;
  }
  const std::string what = argv[2];
  if (what == "reference") {
    std::cout << Reference(pool);
  } else if (what == "schema") {
    std::cout << JsonSchema(*pool.FindMessageTypeByName("mesh.v1.Config"),
                            "mesh configuration");
  } else if (what == "endpoints-schema") {
    std::cout << JsonSchema(*pool.FindMessageTypeByName("mesh.v1.EndpointList"),
                            "mesh endpoints file");
  } else {
    std::cerr << "schema_gen: unknown output \"" << what << "\"\n";
    return 2;
  }
  return std::cout.flush() ? 0 : 1;
}

}  // namespace
}  // namespace mesh::config

int main(int argc, char** argv) { return mesh::config::Main(argc, argv); }
