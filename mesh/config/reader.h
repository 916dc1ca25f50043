#ifndef MESH_CONFIG_READER_H_
#define MESH_CONFIG_READER_H_

#include <string>
#include <unordered_map>
#include <vector>

#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "mesh/config/document.h"
#include "mesh/config/problems.h"
#include "mesh/v1/annotations.pb.h"

// From a document to a protobuf message of the schema, by reflection.

namespace mesh::config {

// What the schema says of `field`: its range, default, and more.
const v1::Rules& RulesOf(const google::protobuf::FieldDescriptor& field);
bool IsDuration(const google::protobuf::FieldDescriptor& field);
// A group of fields, or a list or map of such groups.
bool IsGroup(const google::protobuf::FieldDescriptor& field);
// A list of rules, or a part of one. Where all in it was commented out it must
// not silently be as if it were absent: that would admit everybody.
bool IsRules(const google::protobuf::FieldDescriptor& field);

// Where each field of a configuration was given, by its path.
class SourceMap {
 public:
  void Set(const std::string& path, Position at) { places_[path].at = at; }
  // The same of an entry of a map, whose key stands at `key_at`.
  void Set(const std::string& path, Position at, Position key_at) {
    Place& place = places_[path];
    place.at = at;
    place.key_at = key_at;
  }
  // The field was given, but its value could not be read; that is reported.
  void SetBad(const std::string& path) { places_[path].bad = true; }

  bool Has(const std::string& path) const { return places_.count(path) > 0; }
  bool IsBad(const std::string& path) const {
    const auto it = places_.find(path);
    return it != places_.end() && it->second.bad;
  }
  // Unknown when the field was not given.
  Position Find(const std::string& path) const {
    const auto it = places_.find(path);
    return it == places_.end() ? Position() : it->second.at;
  }
  // Where the key of an entry of a map stands. Unknown as for Find().
  Position FindKey(const std::string& path) const {
    const auto it = places_.find(path);
    return it == places_.end() ? Position() : it->second.key_at;
  }

 private:
  struct Place {
    Position at;
    Position key_at;
    bool bad = false;
  };
  std::unordered_map<std::string, Place> places_;
};

// One of the names that a field of an enum type may have.
struct EnumName {
  std::string name;  // "round_robin": as the reference has it.
  const google::protobuf::EnumValueDescriptor* value;
};

// All names of `type`, in order: those of the schema in lower case, without the
// name of the type in front (MODE_OFF is "off"). What stands for an absent
// field (MODE_UNSPECIFIED) has none.
std::vector<EnumName> NamesOf(const google::protobuf::EnumDescriptor& type);

// Fills `message` from `root` and `sources` with the place of each field and
// element. Every unknown field, wrong type, duplicate and unknown enum value is
// added to `problems`; the rest is filled all the same. A null value counts as
// absent, of a message as an empty one. Names of an enum are read in any case.
// Where one is "off", `false` means the same: tools that follow YAML 1.1 make
// that of an unquoted `off`. Ranges are checked by
// CheckRules(), except of numbers that don't fit into the field.
void ReadMessage(const Node& root, google::protobuf::Message* message,
                 SourceMap* sources, Problems* problems);

// Checks `message` and all in it against the Rules of the schema (ranges,
// required fields) and its enums, which a message built in code can leave.
// `path` is that of `message`, empty for the root.
void CheckRules(const google::protobuf::Message& message,
                const std::string& path, const SourceMap& sources,
                Problems* problems);

// The range that a field's value must be in, "1..10" or "1ms..24h". Empty when
// any value will do.
std::string RangeText(const google::protobuf::FieldDescriptor& field);

}  // namespace mesh::config

#endif  // MESH_CONFIG_READER_H_
