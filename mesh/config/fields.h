#ifndef MESH_CONFIG_FIELDS_H_
#define MESH_CONFIG_FIELDS_H_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/config/option_fields.h"
#include "mesh/config/problems.h"
#include "mesh/config/reader.h"
#include "mesh/config/text.h"
#include "mesh/options/mode.h"
#include "mesh/v1/config.pb.h"

// How the fields of a message come into options.

namespace mesh::config {

inline absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) +
         absl::Nanoseconds(duration.nanos());
}

// Where the fields of a method's policy were given.
struct Given {
  const SourceMap& sources;
  // By the field's own name ("retry.max_attempts"): its path in the narrowest
  // policy that has it. A field that is absent is not there.
  std::map<std::string, std::string> paths;
};

// Copies what a message says into options. A field that is absent changes
// nothing, so a narrower policy goes over a wider one, and any over the
// defaults.
class Fields {
 public:
  explicit Fields(const google::protobuf::Message& message)
      : Fields(message, "", "", nullptr) {}
  // Also notes in `given` which fields there are; `path` is that of the policy,
  // `group` that of the message in it ("retry"), empty for the policy itself.
  Fields(const google::protobuf::Message& message, std::string path,
         std::string group, Given* given)
      : message_(message),
        path_(std::move(path)),
        group_(std::move(group)),
        given_(given) {}

  template <typename T>
  const Fields& Get(const char* name, T* out) const {
    const FieldDescriptor* field =
        message_.GetDescriptor()->FindFieldByName(name);
    const bool has = reflection().HasField(message_, field);
    if (has) Read(*field, out);
    if (given_ != nullptr) {
      const std::string relative = FieldPath(group_, name);
      const std::string path = FieldPath(path_, relative);
      if (has || given_->sources.IsBad(path)) given_->paths[relative] = path;
    }
    return *this;
  }

  // As Get(), of each field that VisitFields() has for `options`.
  template <typename Options>
  void GetAll(Options* options) const {
    VisitFields(*options,
                [this](const char* name, auto& member) { Get(name, &member); });
  }

 private:
  using FieldDescriptor = google::protobuf::FieldDescriptor;

  const google::protobuf::Reflection& reflection() const {
    return *message_.GetReflection();
  }
  void Read(const FieldDescriptor& field, int* out) const {
    // CheckRules() reports what does not fit.
    *out = static_cast<int>(
        std::min<uint32_t>(reflection().GetUInt32(message_, &field),
                           std::numeric_limits<int>::max()));
  }
  void Read(const FieldDescriptor& field, uint64_t* out) const {
    *out = reflection().GetUInt64(message_, &field);
  }
  void Read(const FieldDescriptor& field, double* out) const {
    *out = reflection().GetDouble(message_, &field);
  }
  void Read(const FieldDescriptor& field, bool* out) const {
    *out = reflection().GetBool(message_, &field);
  }
  void Read(const FieldDescriptor& field, std::string* out) const {
    *out = reflection().GetString(message_, &field);
  }
  void Read(const FieldDescriptor& field, absl::Duration* out) const {
    *out = ToDuration(static_cast<const google::protobuf::Duration&>(
        reflection().GetMessage(message_, &field)));
  }
  void Read(const FieldDescriptor& field, options::Mode* out) const {
    switch (reflection().GetEnumValue(message_, &field)) {
      case v1::MODE_OFF:
        *out = options::Mode::kOff;
        return;
      case v1::MODE_OBSERVE:
        *out = options::Mode::kObserve;
        return;
      case v1::MODE_ENFORCE:
        *out = options::Mode::kEnforce;
        return;
    }
  }
  template <typename T>
  void Read(const FieldDescriptor& field, std::optional<T>* out) const {
    T value{};
    Read(field, &value);
    *out = value;
  }

  const google::protobuf::Message& message_;
  const std::string path_;
  const std::string group_;
  Given* const given_;
};

}  // namespace mesh::config

#endif  // MESH_CONFIG_FIELDS_H_
