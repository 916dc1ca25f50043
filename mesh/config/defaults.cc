#include "mesh/config/defaults.h"

#include <filesystem>
#include <map>
#include <memory>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "mesh/base/file.h"
#include "mesh/base/mutex.h"
#include "mesh/config/builder.h"
#include "mesh/config/document.h"
#include "mesh/config/reader.h"
#include "mesh/v1/annotations.pb.h"

namespace mesh::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// A message of a type, with all the defaults that the Rules have of it. They
// are read as they are written.
std::unique_ptr<const Message> ReadDefaults(const Message& prototype) {
  std::string text;
  const Descriptor& type = *prototype.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const std::string& value = RulesOf(*type.field(i)).default_();
    if (!value.empty()) {
      absl::StrAppend(&text, type.field(i)->name(), ": ", value, "\n");
    }
  }
  std::unique_ptr<Message> message(prototype.New());
  Problems problems("");
  SourceMap sources;
  if (const NodePtr root = ParseDocument(text, "", &problems)) {
    ReadMessage(*root, message.get(), &sources, &problems);
  }
  return message;
}

// The same, kept for ever. Thread-safe.
const Message& DefaultsOf(const Message& prototype) {
  static base::Mutex* const mu = new base::Mutex;
  static auto* const all =
      new std::map<const Descriptor*, std::unique_ptr<const Message>>;
  base::MutexLock lock(mu);
  std::unique_ptr<const Message>& defaults = (*all)[prototype.GetDescriptor()];
  if (defaults == nullptr) defaults = ReadDefaults(prototype);
  return *defaults;
}

std::string AbsolutePath(const std::string& path, const std::string& file) {
  const std::string resolved = base::ResolvePath(path, file);
  std::error_code error;
  const std::filesystem::path absolute =
      std::filesystem::absolute(resolved, error);
  return error ? resolved : absolute.string();
}

class Filler {
 public:
  explicit Filler(const std::string& file) : file_(file) {}

  // Everything in `message`.
  void Fill(Message* message) {
    const Descriptor& type = *message->GetDescriptor();
    const Reflection& reflection = *message->GetReflection();
    std::vector<const FieldDescriptor*> absent;
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      if (IsGroup(field)) {
        FillGroup(message, field);
      } else if (IsAbsent(*message, field)) {
        absent.push_back(&field);
      }
    }
    const Message& defaults = DefaultsOf(*message);
    for (const FieldDescriptor* field : absent) {
      const std::string& needs = RulesOf(*field).needs();
      if (needs.empty() ||
          reflection.HasField(*message, type.FindFieldByName(needs))) {
        Copy(defaults, *field, message);
      }
    }
  }

  // Makes paths absolute, everywhere in `message`.
  void Resolve(Message* message) {
    const Descriptor& type = *message->GetDescriptor();
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      if (RulesOf(field).file()) {
        ResolveField(message, field);
      } else if (IsGroup(field)) {
        ForEach(message, field, [this](Message* inner) { Resolve(inner); });
      }
    }
  }

 private:
  static bool HasDefault(const Descriptor& type) {
    for (int i = 0; i < type.field_count(); ++i) {
      if (!RulesOf(*type.field(i)).default_().empty()) return true;
    }
    return false;
  }

  static bool IsAbsent(const Message& message, const FieldDescriptor& field) {
    if (RulesOf(field).default_().empty()) return false;
    const Reflection& reflection = *message.GetReflection();
    return field.is_repeated() ? reflection.FieldSize(message, &field) == 0
                               : !reflection.HasField(message, &field);
  }

  static void Copy(const Message& from, const FieldDescriptor& field,
                   Message* to) {
    const Reflection& reflection = *to->GetReflection();
    if (field.is_repeated()) {  // Strings: there is no other list.
      for (int i = 0; i < reflection.FieldSize(from, &field); ++i) {
        reflection.AddString(to, &field,
                             reflection.GetRepeatedString(from, &field, i));
      }
      return;
    }
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_BOOL:
        return reflection.SetBool(to, &field, reflection.GetBool(from, &field));
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return reflection.SetDouble(to, &field,
                                    reflection.GetDouble(from, &field));
      case FieldDescriptor::CPPTYPE_UINT32:
        return reflection.SetUInt32(to, &field,
                                    reflection.GetUInt32(from, &field));
      case FieldDescriptor::CPPTYPE_UINT64:
        return reflection.SetUInt64(to, &field,
                                    reflection.GetUInt64(from, &field));
      case FieldDescriptor::CPPTYPE_ENUM:
        return reflection.SetEnumValue(to, &field,
                                       reflection.GetEnumValue(from, &field));
      case FieldDescriptor::CPPTYPE_STRING:
        return reflection.SetString(to, &field,
                                    reflection.GetString(from, &field));
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return reflection.MutableMessage(to, &field)
            ->CopyFrom(reflection.GetMessage(from, &field));
      default:
        return;  // No default has another type (a test checks that).
    }
  }

  // A path, a list of them, or a map to them.
  void ResolveField(Message* message, const FieldDescriptor& field) {
    const Reflection& reflection = *message->GetReflection();
    if (!field.is_repeated()) {
      const std::string path = reflection.GetString(*message, &field);
      if (path.empty()) return;
      return reflection.SetString(message, &field, AbsolutePath(path, file_));
    }
    for (int i = 0; i < reflection.FieldSize(*message, &field); ++i) {
      if (field.is_map()) {
        Message* pair = reflection.MutableRepeatedMessage(message, &field, i);
        ResolveField(pair, *field.message_type()->map_value());
      } else {
        reflection.SetRepeatedString(
            message, &field, i,
            AbsolutePath(reflection.GetRepeatedString(*message, &field, i),
                         file_));
      }
    }
  }

  // Calls `visit` for each message that `field` holds.
  template <typename Visit>
  static void ForEach(Message* message, const FieldDescriptor& field,
                      const Visit& visit) {
    const Reflection& reflection = *message->GetReflection();
    if (!field.is_repeated()) {
      if (reflection.HasField(*message, &field)) {
        visit(reflection.MutableMessage(message, &field));
      }
      return;
    }
    for (int i = 0; i < reflection.FieldSize(*message, &field); ++i) {
      Message* inner = reflection.MutableRepeatedMessage(message, &field, i);
      if (field.is_map()) {
        const FieldDescriptor* value = field.message_type()->map_value();
        if (value->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return;
        inner = inner->GetReflection()->MutableMessage(inner, value);
      }
      visit(inner);
    }
  }

  void FillGroup(Message* message, const FieldDescriptor& field) {
    const Reflection& reflection = *message->GetReflection();
    if (message->GetDescriptor() == v1::Service::descriptor()) {
      if (field.number() == v1::Service::kMethodsFieldNumber) return;
      if (field.number() == v1::Service::kPolicyFieldNumber) {
        behind_policy_ =
            static_cast<v1::Service*>(message)->has_grpc_service_config();
      }
    }
    if (message->GetDescriptor() == v1::MethodPolicy::descriptor() &&
        behind_policy_ &&
        (field.number() == v1::MethodPolicy::kRetryFieldNumber ||
         field.number() == v1::MethodPolicy::kHedgingFieldNumber)) {
      return;
    }
    if (field.is_repeated() || reflection.HasField(*message, &field)) {
      return ForEach(message, field, [this](Message* inner) { Fill(inner); });
    }
    if (RulesOf(field).none() || field.real_containing_oneof() != nullptr) {
      return;
    }
    Message* inner = reflection.MutableMessage(message, &field);
    Fill(inner);
    // The first name of an enum takes no bytes and is a default all the same.
    if (inner->ByteSizeLong() == 0 && !HasDefault(*inner->GetDescriptor())) {
      reflection.ClearField(message, &field);
    }
  }

  const std::string& file_;
  bool behind_policy_ = false;  // A gRPC service config stands there.
};

}  // namespace

v1::Config WithDefaults(const v1::Config& config, const std::string& file) {
  v1::Config result;
  result.CopyFrom(config);
  for (auto& [name, service] : *result.mutable_services()) {
    service.set_authority(AuthorityOf(name, service));
  }
  Filler filler(file);
  filler.Fill(&result);
  filler.Resolve(&result);
  // Reflection sees maps through a second form of them. A copy has but one.
  v1::Config copy;
  copy.CopyFrom(result);
  return copy;
}

}  // namespace mesh::config
