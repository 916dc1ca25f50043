#include "mesh/config/printer.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/duration.pb.h"
#include "mesh/config/address.h"
#include "mesh/config/fields.h"
#include "mesh/config/reader.h"
#include "mesh/config/text.h"
#include "mesh/v1/annotations.pb.h"

namespace mesh::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr char kAbsent[] = "(absent)";
constexpr char kGiven[] = "(given)";

// Whether a string can stand without quotes, as a key or a value, also for
// tools that follow YAML 1.1.
bool IsPlain(absl::string_view text) {
  if (text.empty() || !(absl::ascii_isalpha(text[0]) || text[0] == '/')) {
    return false;
  }
  for (const char c : text) {
    if (!absl::ascii_isalnum(c) && c != '_' && c != '-' && c != '.' &&
        c != '/' && c != '*') {
      return false;
    }
  }
  static const auto* const words = new std::set<std::string>{
      "true", "false", "null", "yes", "no", "on", "off", "y", "n"};
  return words->count(absl::AsciiStrToLower(text)) == 0;
}

// A string as a YAML scalar.
std::string StringText(absl::string_view text) {
  if (IsPlain(text)) return std::string(text);
  std::string quoted = "\"";
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const auto next = [&](size_t n) {
      return i + n < text.size() ? static_cast<unsigned char>(text[i + n]) : 0;
    };
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += static_cast<char>(c);
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (c < 0x20 || c == 0x7F) {
      absl::StrAppendFormat(&quoted, "\\x%02X", c);
    } else if (c == 0xC2 && next(1) < 0xA0) {
      // Control characters again. YAML takes U+0085 for the end of a line...
      absl::StrAppendFormat(&quoted, "\\x%02X", next(1));
      i += 1;
    } else if (c == 0xE2 && next(1) == 0x80 && (next(2) | 1) == 0xA9) {
      // ...and these two.
      absl::StrAppendFormat(&quoted, "\\u20%02X", next(2) - 0x80);
      i += 2;
    } else if (c == 0xEF && next(1) == 0xBB && next(2) == 0xBF) {
      quoted += "\\uFEFF";
      i += 2;
    } else {
      quoted += static_cast<char>(c);
    }
  }
  return quoted + "\"";
}

std::string ArgumentText(const v1::ChannelArgument& argument) {
  switch (argument.value_case()) {
    case v1::ChannelArgument::kInteger:
      return absl::StrCat(argument.integer());
    case v1::ChannelArgument::kText:
      return StringText(argument.text());
    case v1::ChannelArgument::kBoolean:
      return argument.boolean() ? "true" : "false";
    case v1::ChannelArgument::VALUE_NOT_SET:
      break;
  }
  return "{}";
}

std::string EnumText(const Message& message, const FieldDescriptor& field) {
  const int number = message.GetReflection()->GetEnumValue(message, &field);
  for (const EnumName& name : NamesOf(*field.enum_type())) {
    if (name.value->number() == number) return name.name;
  }
  return "";  // It stands for an absent one.
}

// The value of a field that is no group. Empty: it has none.
std::string ValueText(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  if (field.is_repeated()) {
    std::vector<std::string> items;
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      items.push_back(
          StringText(reflection.GetRepeatedString(message, &field, i)));
    }
    return items.empty() ? ""
                         : absl::StrCat("[", absl::StrJoin(items, ", "), "]");
  }
  // The first name of an enum is no different from an absent one.
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
    return EnumText(message, field);
  }
  if (!reflection.HasField(message, &field)) return "";
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return NumberText(reflection.GetDouble(message, &field));
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(reflection.GetInt32(message, &field));
    case FieldDescriptor::CPPTYPE_UINT32:
      return absl::StrCat(reflection.GetUInt32(message, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(reflection.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_STRING:
      return StringText(reflection.GetString(message, &field));
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      const absl::Duration value =
          ToDuration(static_cast<const google::protobuf::Duration&>(
              reflection.GetMessage(message, &field)));
      const std::string& zero = RulesOf(field).zero();
      return value == absl::ZeroDuration() && !zero.empty()
                 ? zero
                 : DurationToText(value);
    }
    default:
      return "";  // The schema has no other types (a test checks that).
  }
}

// The entries of a map, by key. Of one to strings the messages are the entries
// themselves.
std::map<std::string, const Message*> EntriesOf(const Message& message,
                                                const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  const FieldDescriptor* key = field.message_type()->map_key();
  const FieldDescriptor* value = field.message_type()->map_value();
  std::map<std::string, const Message*> entries;
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
    entries[entry.GetReflection()->GetString(entry, key)] =
        value->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE
            ? &entry.GetReflection()->GetMessage(entry, value)
            : &entry;
  }
  return entries;
}

// The text of a map's value that is no group; empty where it is one.
std::string ScalarOf(const Message& value, const FieldDescriptor& map) {
  if (value.GetDescriptor() == v1::ChannelArgument::descriptor()) {
    return ArgumentText(static_cast<const v1::ChannelArgument&>(value));
  }
  const FieldDescriptor* field = map.message_type()->map_value();
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) return "";
  return StringText(value.GetReflection()->GetString(value, field));
}

// ---- YAML ----

class Printer {
 public:
  std::string Print(const v1::Config& config) {
    PrintFields(config, 0);
    return text_.empty() ? "{}\n" : std::move(text_);
  }

 private:
  void Line(int depth, absl::string_view key, absl::string_view value) {
    text_.append(2 * depth, ' ');
    absl::StrAppend(&text_, key, ":", value.empty() ? "" : " ", value, "\n");
  }

  // A group under its key.
  void PrintGroup(absl::string_view key, const Message& group, int depth) {
    const size_t before = text_.size();
    Line(depth, key, "");
    const size_t begin = text_.size();
    PrintFields(group, depth + 1);
    if (text_.size() > begin) return;
    text_.resize(before);
    Line(depth, key, "{}");
  }

  void PrintFields(const Message& message, int depth) {
    const Descriptor& type = *message.GetDescriptor();
    const Reflection& reflection = *message.GetReflection();
    if (&type == v1::Service::descriptor()) {
      PrintNoEndpoints(static_cast<const v1::Service&>(message), depth);
    }
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      if (!IsGroup(field)) {
        const std::string value = ValueText(message, field);
        if (!value.empty()) Line(depth, field.name(), value);
      } else if (!field.is_repeated()) {
        if (!reflection.HasField(message, &field)) continue;
        PrintGroup(field.name(), reflection.GetMessage(message, &field), depth);
      } else if (reflection.FieldSize(message, &field) > 0) {
        Line(depth, field.name(), "");
        PrintMany(message, field, depth + 1);
      }
    }
  }

  // A service must say where its endpoints are, also where it has none.
  void PrintNoEndpoints(const v1::Service& service, int depth) {
    if (service.endpoints_size() == 0 && !service.has_endpoints_file() &&
        !service.has_dns()) {
      Line(depth, "endpoints", "[]");
    }
  }

  void PrintMany(const Message& message, const FieldDescriptor& field,
                 int depth) {
    if (!field.is_map()) {
      const Reflection& reflection = *message.GetReflection();
      for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
        text_.append(2 * depth, ' ');
        absl::StrAppend(
            &text_, "- ",
            InOneLine(reflection.GetRepeatedMessage(message, &field, i)), "\n");
      }
      return;
    }
    for (const auto& [key, value] : EntriesOf(message, field)) {
      const std::string scalar = ScalarOf(*value, field);
      if (scalar.empty()) {
        PrintGroup(StringText(key), *value, depth);
      } else {
        Line(depth, StringText(key), scalar);
      }
    }
  }

  // An endpoint that has nothing but an address, or the defaults beside it.
  static bool IsBareAddress(const v1::Endpoint& endpoint) {
    return endpoint.weight() <= 1 && endpoint.priority() == 0 &&
           !endpoint.has_locality() && endpoint.metadata().empty() &&
           endpoint.authority().empty();
  }

  // `{address: "10.0.0.7:80", weight: 2}`. Lists of endpoints are long.
  static std::string InOneLine(const Message& message) {
    const Descriptor& type = *message.GetDescriptor();
    if (&type == v1::Endpoint::descriptor()) {
      const auto& endpoint = static_cast<const v1::Endpoint&>(message);
      if (IsBareAddress(endpoint)) return StringText(endpoint.address());
    }
    const Reflection& reflection = *message.GetReflection();
    std::vector<std::string> parts;
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      std::string value;
      if (!IsGroup(field)) {
        value = ValueText(message, field);
      } else if (field.is_map()) {
        std::vector<std::string> entries;
        for (const auto& [key, entry] : EntriesOf(message, field)) {
          const std::string scalar = ScalarOf(*entry, field);
          entries.push_back(
              absl::StrCat(StringText(key), ": ",
                           scalar.empty() ? InOneLine(*entry) : scalar));
        }
        if (!entries.empty()) {
          value = absl::StrCat("{", absl::StrJoin(entries, ", "), "}");
        }
      } else if (reflection.HasField(message, &field)) {
        value = InOneLine(reflection.GetMessage(message, &field));
      }
      if (!value.empty()) {
        parts.push_back(absl::StrCat(field.name(), ": ", value));
      }
    }
    return absl::StrCat("{", absl::StrJoin(parts, ", "), "}");
  }

  std::string text_;
};

// ---- Differences ----

class Comparison {
 public:
  void Compare(const Message& a, const Message& b, const std::string& path) {
    const Descriptor& type = *a.GetDescriptor();
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      const std::string field_path = FieldPath(path, field.name());
      if (!IsGroup(field)) {
        if (IsSame(a, b, field)) continue;
        Differ(field_path, ValueText(a, field), ValueText(b, field));
      } else if (field.is_map() ||
                 field.message_type() == v1::Endpoint::descriptor()) {
        CompareMany(field, ByKey(a, field), ByKey(b, field), field_path);
      } else if (field.is_repeated()) {
        CompareLists(a, b, field, field_path);
      } else {
        CompareGroups(GroupOf(a, field), GroupOf(b, field), field_path);
      }
    }
  }

  std::vector<std::string> Take() { return std::move(lines_); }

 private:
  using Groups = std::map<std::string, const Message*>;

  static const Message* GroupOf(const Message& message,
                                const FieldDescriptor& field) {
    return message.GetReflection()->HasField(message, &field)
               ? &message.GetReflection()->GetMessage(message, &field)
               : nullptr;
  }

  // Whether a field means the same, however it is written: an address, which
  // the endpoints are compared by, or codes in any order.
  static bool IsSame(const Message& a, const Message& b,
                     const FieldDescriptor& field) {
    if (field.containing_type() == v1::RetryPolicy::descriptor() &&
        field.number() == v1::RetryPolicy::kCodesFieldNumber) {
      const auto codes = [](const Message& message) {
        const auto& list = static_cast<const v1::RetryPolicy&>(message).codes();
        return std::multiset<std::string>(list.begin(), list.end());
      };
      return codes(a) == codes(b);
    }
    return field.containing_type() == v1::Endpoint::descriptor() &&
           field.number() == v1::Endpoint::kAddressFieldNumber;
  }

  // Whether two values of a map mean the same: `true` is the number 1 to gRPC.
  static bool IsSame(const Message* a, const Message* b) {
    if (a == nullptr || b == nullptr ||
        a->GetDescriptor() != v1::ChannelArgument::descriptor()) {
      return false;
    }
    const auto number = [](const Message& message) -> std::optional<int> {
      const auto& argument = static_cast<const v1::ChannelArgument&>(message);
      if (argument.has_boolean()) return argument.boolean() ? 1 : 0;
      if (argument.has_integer()) return argument.integer();
      return std::nullopt;
    };
    return number(*a).has_value() && number(*a) == number(*b);
  }

  // Endpoints by their addresses.
  static Groups ByKey(const Message& message, const FieldDescriptor& field) {
    if (field.is_map()) return EntriesOf(message, field);
    Groups groups;
    const Reflection& reflection = *message.GetReflection();
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      const Message& item = reflection.GetRepeatedMessage(message, &field, i);
      const std::string& address =
          static_cast<const v1::Endpoint&>(item).address();
      groups[CanonicalAddress(address)] = &item;
    }
    return groups;
  }

  void Differ(const std::string& path, absl::string_view from,
              absl::string_view to) {
    if (from == to) return;
    lines_.push_back(absl::StrCat(path, ": ", from.empty() ? kAbsent : from,
                                  " -> ", to.empty() ? kAbsent : to));
  }

  void CompareGroups(const Message* a, const Message* b,
                     const std::string& path) {
    if (a != nullptr && b != nullptr) return Compare(*a, *b, path);
    Differ(path, a == nullptr ? "" : kGiven, b == nullptr ? "" : kGiven);
  }

  // Where the order means something: what stands in the same place.
  void CompareLists(const Message& a, const Message& b,
                    const FieldDescriptor& field, const std::string& path) {
    const auto at = [&field](const Message& message, int i) -> const Message* {
      const Reflection& reflection = *message.GetReflection();
      return i < reflection.FieldSize(message, &field)
                 ? &reflection.GetRepeatedMessage(message, &field, i)
                 : nullptr;
    };
    for (int i = 0; at(a, i) != nullptr || at(b, i) != nullptr; ++i) {
      CompareGroups(at(a, i), at(b, i), IndexPath(path, i));
    }
  }

  void CompareMany(const FieldDescriptor& field, const Groups& a,
                   const Groups& b, const std::string& path) {
    std::set<std::string> keys;
    for (const auto& [key, group] : a) keys.insert(key);
    for (const auto& [key, group] : b) keys.insert(key);
    for (const std::string& key : keys) {
      const auto of = [&](const Groups& groups) {
        const auto it = groups.find(key);
        return it == groups.end() ? nullptr : it->second;
      };
      const Message* const in_a = of(a);
      const Message* const in_b = of(b);
      if (IsSame(in_a, in_b)) continue;
      const auto scalar = [&](const Message* message) {
        return message == nullptr || !field.is_map()
                   ? ""
                   : ScalarOf(*message, field);
      };
      const std::string scalar_a = scalar(in_a), scalar_b = scalar(in_b);
      if (scalar_a.empty() && scalar_b.empty()) {
        CompareGroups(in_a, in_b, KeyPath(path, key));
      } else {
        Differ(KeyPath(path, key), scalar_a, scalar_b);
      }
    }
  }

  std::vector<std::string> lines_;
};

}  // namespace

std::string ToYaml(const v1::Config& config) { return Printer().Print(config); }

std::vector<std::string> Differences(const v1::Config& from,
                                     const v1::Config& to) {
  Comparison comparison;
  comparison.Compare(from, to, "");
  return comparison.Take();
}

}  // namespace mesh::config
