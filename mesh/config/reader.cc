#include "mesh/config/reader.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "mesh/base/utf8.h"
#include "mesh/config/old_names.h"
#include "mesh/config/parsers.h"
#include "mesh/config/text.h"
#include "mesh/v1/annotations.pb.h"
#include "mesh/v1/config.pb.h"

namespace mesh::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using Kind = Node::Kind;

// Whether zero is valid, though the range may not have it.
bool HasZero(const FieldDescriptor& field) {
  return !RulesOf(field).zero().empty();
}

std::string RangeBound(const FieldDescriptor& field, double value) {
  if (!IsDuration(field)) return NumberText(value);
  return DurationToText(absl::Seconds(value));
}

// A message, in messages.
std::string MapTypeText(const Descriptor& type) {
  return &type == v1::Endpoint::descriptor() ? "an address or a map" : "a map";
}

// A single value of a field, in messages.
std::string ValueTypeText(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return "a number";
    case FieldDescriptor::CPPTYPE_ENUM:
      return "a name";
    case FieldDescriptor::CPPTYPE_STRING:
      return "a string";
    case FieldDescriptor::CPPTYPE_MESSAGE:
      if (IsDuration(field)) {
        return absl::StrCat(RulesOf(field).zero(), HasZero(field) ? " or " : "",
                            "a duration such as 250ms, 1.5s, 2m or 1h");
      }
      return MapTypeText(*field.message_type());
    default:
      return "an integer";
  }
}

// All names of an enum, in messages: "off, observe or enforce".
std::string EnumText(const EnumDescriptor& type) {
  const std::vector<EnumName> names = NamesOf(type);
  std::string text = names[0].name;
  for (size_t i = 1; i < names.size(); ++i) {
    absl::StrAppend(&text, i + 1 < names.size() ? ", " : " or ", names[i].name);
  }
  return text;
}

// Whether the text of a number has no digit but 0 before its exponent.
bool IsZero(absl::string_view text) {
  return text.substr(0, text.find_first_of("eE")).find_first_of("123456789") ==
         absl::string_view::npos;
}

// What is wrong with a key of more than kMostOfKey bytes in the map at `path`.
std::string KeyTooLong(const std::string& path, absl::string_view key) {
  return absl::StrCat(path, "[", Quoted(key), "]",
                      ": a name must have at most ", kMostOfKey,
                      " bytes, but has ", key.size(), ".");
}

class Reader {
 public:
  Reader(SourceMap* sources, Problems* problems)
      : sources_(*sources), problems_(*problems) {}

  // Reads the whole document.
  void ReadRoot(const Node& root, Message* message) {
    Read(root, message, "");
    ReportOldNames();
  }

 private:
  // A message in which the paths of old names begin.
  struct Anchor {
    std::string message;
    std::string path;
  };
  // An old name that was written.
  struct Written {
    const OldName* name;
    Position at;
    std::string path;
    std::string parent;
  };

  void Read(const Node& node, Message* message, const std::string& path) {
    const Descriptor& type = *message->GetDescriptor();
    const Anchor outside = anchor_;
    if (HasOldNames(type.name())) anchor_ = {type.name(), path};
    ReadFields(node, message, path);
    anchor_ = outside;
  }

  void ReadFields(const Node& node, Message* message, const std::string& path) {
    sources_.Set(path, node.at);
    if (node.kind == Kind::kNull) return;
    if (node.kind != Kind::kMap) {
      if (ReadShorthand(node, message, path)) return;
      WrongType(node, path, MapTypeText(*message->GetDescriptor()));
      return;
    }
    const Descriptor* descriptor = message->GetDescriptor();
    std::map<std::string, Position> seen;
    for (const Node::Entry& entry : node.entries) {
      const FieldDescriptor* field = descriptor->FindFieldByName(entry.key);
      if (field == nullptr) {
        UnknownField(entry, *descriptor, path);
        continue;
      }
      const std::string field_path = FieldPath(path, entry.key);
      if (!CheckFirst(entry, field_path, &seen)) continue;
      if (entry.value->kind == Kind::kNull && !IsRules(*field)) {
        ReadNull(message, field, field_path, entry.key_at);
        continue;
      }
      if (const auto* oneof = field->real_containing_oneof();
          oneof != nullptr &&
          message->GetReflection()->HasOneof(*message, oneof)) {
        problems_.Add(
            entry.key_at,
            absl::StrCat(path, " must have only one of ",
                         message->GetReflection()
                             ->GetOneofFieldDescriptor(*message, oneof)
                             ->name(),
                         " and ", entry.key));
        continue;
      }
      sources_.Set(field_path, entry.value->at);
      ReadField(*entry.value, message, field, field_path);
    }
  }

  void WrongType(const Node& node, const std::string& path,
                 absl::string_view expected, absl::string_view hint = "") {
    sources_.SetBad(path);
    problems_.Add(node.at, absl::StrCat(path.empty() ? "the top level" : path,
                                        " must be ", expected, ", but is ",
                                        Describe(node), hint));
  }

  void UnknownField(const Node::Entry& entry, const Descriptor& descriptor,
                    const std::string& path) {
    if (NoteOldName(entry, FieldPath(path, entry.key))) return;
    std::vector<std::string> names;
    for (int i = 0; i < descriptor.field_count(); ++i) {
      names.emplace_back(descriptor.field(i)->name());
    }
    problems_.Add(
        entry.key_at,
        absl::StrCat(path.empty() ? "the top level" : path, " has no field ",
                     Quoted(entry.key), DidYouMean(entry.key, names)));
  }

  // Whether the key is an old name. All old names in its value are noted, too.
  bool NoteOldName(const Node::Entry& entry, const std::string& path) {
    if (anchor_.message.empty() || path.size() <= anchor_.path.size()) {
      return false;
    }
    absl::string_view relative =
        absl::string_view(path).substr(anchor_.path.size());
    absl::ConsumePrefix(&relative, ".");
    const OldName* name = FindOldName(anchor_.message, relative);
    if (name == nullptr) return false;
    old_names_.push_back({name, entry.key_at, path, anchor_.path});
    for (const Node::Entry& inner : entry.value->entries) {
      NoteOldName(inner, FieldPath(path, inner.key));
    }
    return true;
  }

  // Once all is read, so that it is known which new names stand there, too.
  void ReportOldNames() {
    for (const Written& old : old_names_) {
      const std::string now = FieldPath(old.parent, old.name->now);
      const bool beside = *old.name->now != '\0' && sources_.Has(now);
      problems_.Add(old.at,
                    OldNameError(*old.name, old.path, old.parent, beside));
    }
    for (const Written& old : old_names_) {
      // No further error is to follow from its absence.
      const std::string now = FieldPath(old.parent, old.name->now);
      if (*old.name->now != '\0' && !sources_.Has(now)) sources_.SetBad(now);
    }
  }

  // False, and a problem, if the key was seen before.
  bool CheckFirst(const Node::Entry& entry, const std::string& path,
                  std::map<std::string, Position>* seen) {
    const auto [it, is_new] = seen->emplace(entry.key, entry.key_at);
    if (is_new) return true;
    problems_.Add(entry.key_at,
                  absl::StrCat(path, " is given twice, first at ",
                               it->second.line, ":", it->second.column));
    return false;
  }

  // A null is as if the field were absent; but a group of fields with nothing
  // in it is there. (`tls:` must not silently be plaintext because all below it
  // was commented out.)
  void ReadNull(Message* message, const FieldDescriptor* field,
                const std::string& path, Position key_at) {
    if (field->is_repeated() || IsDuration(*field) ||
        field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      return;
    }
    message->GetReflection()->MutableMessage(message, field);
    sources_.Set(path, key_at);
  }

  // The short forms: an address for an endpoint, a scalar for a channel
  // argument.
  bool ReadShorthand(const Node& node, Message* message,
                     const std::string& path) {
    if (message->GetDescriptor() == v1::Endpoint::descriptor()) {
      if (node.kind != Kind::kString) return false;
      static_cast<v1::Endpoint*>(message)->set_address(node.text);
      sources_.Set(FieldPath(path, "address"), node.at);
      return true;
    }
    if (message->GetDescriptor() != v1::ChannelArgument::descriptor()) {
      return false;
    }
    const char* field = node.kind == Kind::kInteger  ? "integer"
                        : node.kind == Kind::kString ? "text"
                        : node.kind == Kind::kBool   ? "boolean"
                                                     : nullptr;
    if (field == nullptr) {
      WrongType(node, path, "an integer, a string, true or false");
    } else {
      ReadField(node, message, message->GetDescriptor()->FindFieldByName(field),
                path);
    }
    return true;
  }

  void ReadField(const Node& node, Message* message,
                 const FieldDescriptor* field, const std::string& path) {
    if (field->is_map()) {
      ReadMap(node, message, field, path);
      return;
    }
    if (!field->is_repeated()) {
      ReadValue(node, message, field, path);
      return;
    }
    if (node.kind == Kind::kString && RulesOf(*field).one()) {
      const std::string item_path = IndexPath(path, 0);
      sources_.Set(item_path, node.at);
      ReadValue(node, message, field, item_path);
      return;
    }
    if (node.kind != Kind::kList) {
      WrongType(
          node, path,
          RulesOf(*field).one() ? "a string or a list of them" : "a list");
      return;
    }
    for (size_t i = 0; i < node.items.size(); ++i) {
      const Node& item = *node.items[i];
      const std::string item_path = IndexPath(path, static_cast<int>(i));
      sources_.Set(item_path, item.at);
      if (item.kind == Kind::kNull) {
        sources_.SetBad(item_path);
        problems_.Add(
            item.at, absl::StrCat(item_path, " must be ", ValueTypeText(*field),
                                  ", but is empty"));
      }
      // Bad elements are kept as empty ones: indices stay those of the text.
      ReadValue(item, message, field, item_path);
    }
  }

  void ReadMap(const Node& node, Message* message, const FieldDescriptor* field,
               const std::string& path) {
    if (node.kind != Kind::kMap) {
      WrongType(node, path, "a map");
      return;
    }
    const FieldDescriptor* key = field->message_type()->map_key();
    const FieldDescriptor* value = field->message_type()->map_value();
    std::map<std::string, Position> seen;
    for (const Node::Entry& entry : node.entries) {
      if (entry.key.size() > kMostOfKey) {
        // Before anything below it has a path that the key is a part of.
        problems_.Add(entry.key_at, KeyTooLong(path, entry.key));
        continue;
      }
      const std::string entry_path = KeyPath(path, entry.key);
      if (!CheckFirst(entry, entry_path, &seen)) continue;
      Message* pair = message->GetReflection()->AddMessage(message, field);
      pair->GetReflection()->SetString(pair, key, entry.key);
      sources_.Set(entry_path, entry.value->at, entry.key_at);
      if (value->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        Message* made = pair->GetReflection()->MutableMessage(pair, value);
        if (entry.value->kind != Kind::kNull) {
          Read(*entry.value, made, entry_path);
        }
      } else {
        ReadValue(*entry.value, pair, value, entry_path);
      }
    }
  }

  // Sets a field, or adds an element to a repeated one. Of what can't be read
  // a default is added, so that later elements keep their index.
  void ReadValue(const Node& node, Message* message,
                 const FieldDescriptor* field, const std::string& path) {
    const Reflection* reflection = message->GetReflection();
    const bool repeated = field->is_repeated();
    const auto wrong = [&](absl::string_view hint = "") {
      if (!sources_.IsBad(path)) {
        WrongType(node, path, ValueTypeText(*field), hint);
      }
    };
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING: {
        if (node.kind != Kind::kString) {
          wrong(node.kind == Kind::kList || node.kind == Kind::kMap ||
                        node.kind == Kind::kNull
                    ? ""
                    : "; put it in quotes");
        }
        const std::string text =
            node.kind == Kind::kString ? node.text : std::string();
        if (repeated) {
          reflection->AddString(message, field, text);
        } else if (node.kind == Kind::kString) {
          reflection->SetString(message, field, text);
        }
        return;
      }
      case FieldDescriptor::CPPTYPE_BOOL:
        if (node.kind != Kind::kBool) return wrong();
        reflection->SetBool(message, field,
                            absl::ascii_tolower(node.text[0]) == 't');
        return;
      case FieldDescriptor::CPPTYPE_UINT64:
      case FieldDescriptor::CPPTYPE_UINT32:
      case FieldDescriptor::CPPTYPE_INT32:
        return ReadInteger(node, message, field, path);
      case FieldDescriptor::CPPTYPE_DOUBLE: {
        if (node.kind != Kind::kInteger && node.kind != Kind::kNumber) {
          return wrong();
        }
        double value = std::numeric_limits<double>::quiet_NaN();
        absl::string_view text = node.text;
        if (absl::ascii_isdigit(text.back()) || text.back() == '.') {
          if (text[0] == '+') text.remove_prefix(1);
          if (!absl::SimpleAtod(text, &value)) return wrong();
        }
        if (!std::isfinite(value))
          return WrongType(node, path, "a finite number");
        if (value == 0 && !IsZero(text)) {
          return wrong("; it is too near to 0");
        }
        reflection->SetDouble(message, field, value);
        return;
      }
      case FieldDescriptor::CPPTYPE_ENUM:
        return ReadEnum(node, message, field, path);
      case FieldDescriptor::CPPTYPE_MESSAGE:
        if (IsDuration(*field)) {
          return ReadDuration(node, *field,
                              reflection->MutableMessage(message, field), path);
        }
        Read(node,
             repeated ? reflection->AddMessage(message, field)
                      : reflection->MutableMessage(message, field),
             path);
        return;
      default:
        return;  // The schema has no other types (a test checks that).
    }
  }

  void ReadInteger(const Node& node, Message* message,
                   const FieldDescriptor* field, const std::string& path) {
    if (node.kind != Kind::kInteger) {
      return WrongType(node, path, ValueTypeText(*field));
    }
    const Reflection* reflection = message->GetReflection();
    bool fits;
    std::string range = RangeText(*field);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
      uint64_t value = 0;
      fits = absl::SimpleAtoi(node.text, &value);
      if (fits) reflection->SetUInt64(message, field, value);
      if (range.empty()) range = "0..18446744073709551615";
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
      uint32_t value = 0;
      fits = absl::SimpleAtoi(node.text, &value);
      if (fits) reflection->SetUInt32(message, field, value);
      if (range.empty()) range = "0..4294967295";
    } else {
      int32_t value = 0;
      fits = absl::SimpleAtoi(node.text, &value);
      if (fits) reflection->SetInt32(message, field, value);
    }
    if (fits) return;
    sources_.SetBad(path);
    problems_.Add(node.at, absl::StrCat(path, " must be in ", range,
                                        ", but is ", Describe(node)));
  }

  void ReadEnum(const Node& node, Message* message,
                const FieldDescriptor* field, const std::string& path) {
    const EnumDescriptor& type = *field->enum_type();
    std::vector<std::string> names;
    for (const EnumName& name : NamesOf(type)) {
      const bool off = node.kind == Kind::kBool && name.name == "off" &&
                       absl::EqualsIgnoreCase(node.text, "false");
      if (off || (node.kind == Kind::kString &&
                  absl::EqualsIgnoreCase(node.text, name.name))) {
        message->GetReflection()->SetEnum(message, field, name.value);
        return;
      }
      names.push_back(name.name);
    }
    WrongType(node, path, EnumText(type),
              node.kind == Kind::kString ? DidYouMean(node.text, names) : "");
  }

  void ReadDuration(const Node& node, const FieldDescriptor& field,
                    Message* message, const std::string& path) {
    absl::Duration value;
    const bool is_zero =
        HasZero(field) && node.kind == Kind::kString &&
        absl::EqualsIgnoreCase(node.text, RulesOf(field).zero());
    if (is_zero) return;  // The message is there: a duration of zero.
    const DurationText how = node.kind == Kind::kString
                                 ? DurationFromText(node.text, &value)
                                 : DurationText::kNoDuration;
    if (how == DurationText::kNoDuration || how == DurationText::kTooFine) {
      const bool bare =
          node.kind == Kind::kInteger || node.kind == Kind::kNumber;
      return WrongType(node, path, ValueTypeText(field),
                       bare ? "; it needs a unit"
                       : how == DurationText::kTooFine
                           ? "; it is finer than a nanosecond"
                           : "");
    }
    // Where zero has a name of its own, that says more.
    const bool too_long = how == DurationText::kTooLong;
    if (too_long || (value == absl::ZeroDuration() && HasZero(field))) {
      sources_.SetBad(path);
      problems_.Add(
          node.at, absl::StrCat(path, " must be in ", RangeText(field),
                                ", but is ", too_long ? Describe(node) : "0s"));
      return;
    }
    auto* duration = static_cast<google::protobuf::Duration*>(message);
    duration->set_seconds(absl::IDivDuration(value, absl::Seconds(1), &value));
    duration->set_nanos(absl::ToInt64Nanoseconds(value));
  }

  SourceMap& sources_;
  Problems& problems_;
  Anchor anchor_;  // The nearest around what is being read.
  std::vector<Written> old_names_;
};

// Checks one value of `field`, which is present.
void CheckRange(const Message& message, const FieldDescriptor& field,
                const std::string& path, const SourceMap& sources,
                Problems* problems) {
  const Reflection* reflection = message.GetReflection();
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
    // Only code can say a number: the reader knows the names.
    const int number = reflection->GetEnumValue(message, &field);
    if (field.enum_type()->FindValueByNumber(number) == nullptr) {
      problems->Add(
          {}, absl::StrCat(path, " must be ", EnumText(*field.enum_type()),
                           ", but is ", number));
    }
    return;
  }
  const v1::Rules& rules = RulesOf(field);
  if (!rules.has_min() && !rules.has_max()) return;
  if (sources.IsBad(path)) return;
  double value;
  std::string text;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT64:
      value = reflection->GetUInt64(message, &field);
      text = absl::StrCat(reflection->GetUInt64(message, &field));
      break;
    case FieldDescriptor::CPPTYPE_UINT32:
      value = reflection->GetUInt32(message, &field);
      text = absl::StrCat(reflection->GetUInt32(message, &field));
      break;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      value = reflection->GetDouble(message, &field);
      text = NumberText(value);
      break;
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      const auto& duration = static_cast<const google::protobuf::Duration&>(
          reflection->GetMessage(message, &field));
      const absl::Duration d = absl::Seconds(duration.seconds()) +
                               absl::Nanoseconds(duration.nanos());
      value = absl::ToDoubleSeconds(d);
      text = DurationToText(d);
      break;
    }
    default:
      return;
  }
  if (value == 0 && HasZero(field)) return;
  // Written so that a NaN is outside too.
  if ((!rules.has_min() || value >= rules.min()) &&
      (!rules.has_max() || value <= rules.max())) {
    return;
  }
  problems->Add(
      sources.Find(path),
      absl::StrCat(path, " must be in ", RangeText(field), ", but is ", text));
}

// Checks that a required field, which has no presence of its own, is there.
bool CheckRequired(const Message& message, const FieldDescriptor& field,
                   const std::string& parent, const std::string& path,
                   const SourceMap& sources, Problems* problems) {
  if (!RulesOf(field).required()) return true;
  const Reflection* reflection = message.GetReflection();
  const bool present = field.is_repeated()
                           ? reflection->FieldSize(message, &field) > 0
                           : reflection->HasField(message, &field);
  if (present || sources.IsBad(path) || sources.IsBad(parent)) return true;
  if (!sources.Has(path)) {
    problems->Add(sources.Find(parent), absl::StrCat(path, " is missing"));
    return false;
  }
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    problems->Add(sources.Find(path), absl::StrCat(path, " must not be empty"));
    return false;
  }
  return true;
}

}  // namespace

const v1::Rules& RulesOf(const FieldDescriptor& field) {
  return field.options().GetExtension(v1::rules);
}

bool IsDuration(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
         field.message_type()->full_name() == "google.protobuf.Duration";
}

bool IsGroup(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
         !IsDuration(field);
}

bool IsRules(const FieldDescriptor& field) {
  return field.is_repeated() &&
         (field.containing_type() == v1::Server::descriptor() ||
          field.containing_type() == v1::Rule::descriptor());
}

std::vector<EnumName> NamesOf(const EnumDescriptor& type) {
  const std::string prefix = absl::AsciiStrToLower(type.name()) + "_";
  std::vector<EnumName> names;
  for (int i = 0; i < type.value_count(); ++i) {
    const std::string lower = absl::AsciiStrToLower(type.value(i)->name());
    const absl::string_view name = absl::StripPrefix(lower, prefix);
    if (name == "unspecified") continue;
    names.push_back({std::string(name), type.value(i)});
  }
  return names;
}

std::string RangeText(const FieldDescriptor& field) {
  const v1::Rules& rules = RulesOf(field);
  if (!rules.has_min() || !rules.has_max()) return "";
  return absl::StrCat(rules.zero(), HasZero(field) ? " or " : "",
                      RangeBound(field, rules.min()), "..",
                      RangeBound(field, rules.max()));
}

void ReadMessage(const Node& root, Message* message, SourceMap* sources,
                 Problems* problems) {
  Reader(sources, problems).ReadRoot(root, message);
}

namespace {

// Such a text was set in code.
void CheckText(absl::string_view text, const std::string& path, Position at,
               Problems* problems) {
  if (base::IsUtf8(text)) return;
  problems->Add(at, absl::StrCat(path, " must be UTF-8 text."));
}

// A map's key, and its value if that is a string.
void CheckPair(const Message& pair, const FieldDescriptor& key,
               const FieldDescriptor& value, const std::string& map,
               const SourceMap& sources, Problems* problems) {
  const Reflection& reflection = *pair.GetReflection();
  const std::string name = reflection.GetString(pair, &key);
  const std::string path = KeyPath(map, name);
  CheckText(name, path, sources.FindKey(path), problems);
  if (name.size() > kMostOfKey) {  // It was set in code.
    problems->Add({}, KeyTooLong(map, name));
  }
  if (value.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    CheckText(reflection.GetString(pair, &value), path, sources.Find(path),
              problems);
  }
}

}  // namespace

void CheckRules(const Message& message, const std::string& path,
                const SourceMap& sources, Problems* problems) {
  const Descriptor& descriptor = *message.GetDescriptor();
  const Reflection* reflection = message.GetReflection();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    const std::string field_path = FieldPath(path, field.name());
    if (!CheckRequired(message, field, path, field_path, sources, problems)) {
      continue;
    }
    const bool is_message =
        field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (field.is_map()) {
      const FieldDescriptor* key = field.message_type()->map_key();
      const FieldDescriptor* value = field.message_type()->map_value();
      for (int j = 0; j < reflection->FieldSize(message, &field); ++j) {
        const Message& pair =
            reflection->GetRepeatedMessage(message, &field, j);
        CheckPair(pair, *key, *value, field_path, sources, problems);
        if (value->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
        CheckRules(
            pair.GetReflection()->GetMessage(pair, value),
            KeyPath(field_path, pair.GetReflection()->GetString(pair, key)),
            sources, problems);
      }
    } else if (field.is_repeated() && !is_message) {  // Strings.
      for (int j = 0; j < reflection->FieldSize(message, &field); ++j) {
        const std::string at = IndexPath(field_path, j);
        CheckText(reflection->GetRepeatedString(message, &field, j), at,
                  sources.Find(at), problems);
      }
    } else if (field.is_repeated()) {
      for (int j = 0; j < reflection->FieldSize(message, &field); ++j) {
        CheckRules(reflection->GetRepeatedMessage(message, &field, j),
                   IndexPath(field_path, j), sources, problems);
      }
    } else if (!reflection->HasField(message, &field)) {
      // A required number that is absent in code is reported as missing; one
      // that is written as 0 is out of its range.
      if (RulesOf(field).required() && sources.Has(field_path)) {
        CheckRange(message, field, field_path, sources, problems);
      }
    } else if (is_message && !IsDuration(field)) {
      CheckRules(reflection->GetMessage(message, &field), field_path, sources,
                 problems);
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      CheckText(reflection->GetString(message, &field), field_path,
                sources.Find(field_path), problems);
    } else {
      CheckRange(message, field, field_path, sources, problems);
    }
  }
}

}  // namespace mesh::config
