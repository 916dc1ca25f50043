// Valid configurations, drawn from a seed over all fields of the schema.

#ifndef MESH_CONFIG_RANDOM_CONFIG_TEST_UTIL_H_
#define MESH_CONFIG_RANDOM_CONFIG_TEST_UTIL_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/message.h"
#include "mesh/base/random.h"
#include "mesh/config/loader.h"
#include "mesh/config/reader.h"
#include "mesh/v1/annotations.pb.h"
#include "mesh/v1/config.pb.h"

namespace mesh::config {

class RandomConfigs {
 public:
  // `directory` is for the files that configurations name.
  explicit RandomConfigs(std::string directory)
      : directory_(std::move(directory)) {
    std::ofstream(directory_ + "/any.pem") << "any";
    std::ofstream(directory_ + "/service_config.json") << kServiceConfig;
  }

  v1::Config Make(uint64_t seed) {
    random_ = base::Random(seed);
    v1::Config config;
    if (OneIn(2)) AddIdentity(&config);
    if (OneIn(2)) AddServer(&config);
    for (uint64_t i = 0, n = 1 + random_.Below(3); i < n; ++i) {
      AddService(&config);
    }
    FillGroup(&config, config.mutable_telemetry(), 2);
    FillGroup(&config, config.mutable_limits(), 2);
    Note(config);
    return config;
  }

  // Fields of the schema that no configuration had until now.
  std::vector<std::string> FieldsNeverSet() const {
    std::set<std::string> all;
    Collect(*v1::Config::descriptor(), &all);
    std::vector<std::string> never;
    std::set_difference(all.begin(), all.end(), seen_.begin(), seen_.end(),
                        std::back_inserter(never));
    return never;
  }

 private:
  using FieldDescriptor = google::protobuf::FieldDescriptor;
  using Message = google::protobuf::Message;

  static constexpr char kServiceConfig[] =
      R"({"methodConfig": [{"name": [{"service": "a.B"}], "timeout": "5s",
          "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.05s",
          "maxBackoff": "1s", "backoffMultiplier": 1.5,
          "retryableStatusCodes": ["ABORTED"]}}]})";

  bool OneIn(int n) { return random_.Below(n) == 0; }

  void AddService(v1::Config* config) {
    const std::string name =
        OneIn(2) ? Word() : absl::StrCat(Word(), ".:", Word());
    v1::Service& service = (*config->mutable_services())[name];
    service.Clear();
    switch (random_.Below(3)) {
      case 0:
        do {
          AddEndpoint(&service);
        } while (!OneIn(3));
        break;
      case 1:
        service.mutable_endpoints_file()->set_path(directory_ + "/list.yaml");
        break;
      default:
        service.mutable_dns()->set_name(OneIn(4) ? "::1" : "shop.prod");
        service.mutable_dns()->set_port(1 + random_.Below(65535));
        FillGroup(config, service.mutable_dns(), 2);
        break;
    }
    if (OneIn(4)) {
      auto& grpc = *service.mutable_grpc_service_config();
      if (OneIn(2)) {
        grpc.set_json(kServiceConfig);
      } else {
        grpc.set_path(directory_ + "/service_config.json");
      }
    }
    if (OneIn(2)) AddTls(*config, service.mutable_tls());
    FillGroup(config, service.mutable_connections(), 3);
    while (OneIn(2)) AddArgument(&service);
    FillGroup(config, service.mutable_policy(), 4);
    for (const char* method : {"a.B/*", "a.B/C", "a.B/D", "c.D/E"}) {
      if (OneIn(3)) {
        FillGroup(config, &(*service.mutable_methods())[method], 5);
      }
    }
    for (Message* group : std::vector<Message*>{
             service.mutable_load_balancing(), service.mutable_retry_budget(),
             service.mutable_outlier_ejection(), service.mutable_silence(),
             service.mutable_guards()}) {
      FillGroup(config, group, 3);
    }
    if (OneIn(3)) service.set_authority(Word());
  }

  v1::Crl Crl() { return static_cast<v1::Crl>(random_.Below(3)); }

  std::string Peer() {
    static const char* const peers[] = {"spiffe://prod/a", "spiffe://prod/b/*",
                                        "dns:cart.prod", "spiffe://test/c"};
    return peers[random_.Below(std::size(peers))];
  }

  std::string File() { return absl::StrCat(directory_, "/", Word()); }

  // Its bundles are those of the trust domains that Peer() has.
  void AddIdentity(v1::Config* config) {
    v1::Identity& identity = *config->mutable_identity();
    switch (random_.Below(3)) {
      case 0:
        identity.set_spiffe(OneIn(2) ? "" : "unix:///run/agent.sock");
        if (OneIn(2)) {
          identity.set_id("spiffe://prod/a");
        } else if (OneIn(2)) {
          identity.set_hint(AnyText());
        }
        break;
      case 1: {
        v1::IdentityFiles& files = *identity.mutable_files();
        files.set_cert(directory_ + "/a/b.pem");
        files.set_key(directory_ + "/b.key");
        files.set_ca(directory_ + "/any.pem");
        while (OneIn(2)) files.add_crl(File());
        for (const char* domain : {"prod", "test"}) {
          (*files.mutable_bundles())[domain] = File();
        }
        break;
      }
      default:
        break;  // The application gives it.
    }
    // Services with names that are no segment of a path have a `tls`.
    if (OneIn(3)) identity.set_peer("spiffe://prod/any");
    if (OneIn(3)) identity.mutable_start_timeout()->set_seconds(7);
    if (OneIn(3)) identity.mutable_spread()->set_nanos(5000000);
  }

  void AddServer(v1::Config* config) {
    v1::Server& server = *config->mutable_server();
    server.set_mode(config->has_identity() ? v1::Server::PERMISSIVE
                                           : v1::Server::PLAINTEXT);
    if (OneIn(2)) server.set_rules(v1::Server::OBSERVE);
    server.set_crl(Crl());
    while (OneIn(2)) AddRule(*config, "a.B/*", server.add_allow());
    while (OneIn(2)) AddRule(*config, "c.D/E", server.add_deny());
  }

  void AddRule(const v1::Config& config, const std::string& method,
               v1::Rule* rule) {
    if (config.has_identity()) {
      while (OneIn(2)) rule->add_from(Peer());
    } else if (OneIn(2)) {
      rule->add_from("plaintext");
    }
    rule->add_methods(method);
    static const char* const names[] = {"x-role", "x.y", "on", "0"};
    for (const char* name : names) {
      if (!OneIn(3)) continue;
      v1::HeaderMatch& match = (*rule->mutable_headers())[name];
      switch (random_.Below(4)) {
        case 0:
          match.set_exact(Word());
          break;
        case 1:
          match.set_prefix(Word());
          break;
        case 2:
          match.set_present(true);
          break;
        default:
          match.set_absent(true);
          break;
      }
    }
  }

  void AddTls(const v1::Config& config, v1::Tls* tls) {
    if (OneIn(4)) return tls->set_mode(v1::Tls::PLAINTEXT);
    if (OneIn(2)) tls->set_ca_file(directory_ + "/any.pem");
    if (OneIn(2)) {
      tls->set_cert_file(directory_ + "/any.pem");
      tls->set_key_file(directory_ + "/any.pem");
    }
    // With files of its own a service needs authorities of its own.
    if (config.has_identity() &&
        (tls->cert_file().empty() || !tls->ca_file().empty())) {
      while (OneIn(2)) tls->add_peer(Peer());
    }
    tls->set_crl(Crl());
  }

  void AddEndpoint(v1::Service* service) {
    v1::Endpoint& endpoint = *service->add_endpoints();
    FillScalars(&endpoint, 3);
    const int i = service->endpoints_size();
    endpoint.set_address(OneIn(3)   ? absl::StrCat("[2001:db8::", i, "]:80")
                         : OneIn(3) ? absl::StrCat("unix:/run/a b", i)
                                    : absl::StrCat("10.0.0.", i, ":8080"));
    if (endpoint.address().find(' ') != std::string::npos) {
      endpoint.set_address(absl::StrCat("unix:/run/a#b", i));
    }
    if (OneIn(3)) FillScalars(endpoint.mutable_locality(), 2);
    while (OneIn(3)) (*endpoint.mutable_metadata())[AnyText()] = AnyText();
  }

  void AddArgument(v1::Service* service) {
    v1::ChannelArgument& argument =
        (*service->mutable_channel_args())[absl::StrCat("grpc.", Word())];
    switch (random_.Below(3)) {
      case 0:
        return argument.set_integer(
            static_cast<int32_t>(random_.Below(1u << 31)));
      case 1:
        return argument.set_text(AnyText());
      default:
        return argument.set_boolean(OneIn(2));
    }
  }

  // Adds to `group`, which is in `config`, until the whole is valid; each field
  // of it is there once in `sparse`. Leaves it as it was when that does not
  // come.
  void FillGroup(v1::Config* config, Message* group, int sparse) {
    const std::unique_ptr<Message> before(group->New());
    before->CopyFrom(*group);
    for (int i = 0; i < 40; ++i) {
      FillAll(group, sparse);
      if (FromProto(*config).ok()) return;
      group->CopyFrom(*before);
    }
  }

  void FillAll(Message* message, int sparse) {
    FillScalars(message, sparse);
    const auto& type = *message->GetDescriptor();
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      if (!IsGroup(field) || field.is_repeated() || !OneIn(2)) continue;
      FillAll(message->GetReflection()->MutableMessage(message, &field),
              sparse);
    }
  }

  void FillScalars(Message* message, int sparse) {
    const auto& type = *message->GetDescriptor();
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      if (IsGroup(field) || !OneIn(sparse)) continue;
      const v1::Rules& rules = field.options().GetExtension(v1::rules);
      if (rules.required()) continue;  // Whoever calls sees to it.
      Draw(message, field, rules);
    }
  }

  double Number(const v1::Rules& rules) {
    if (!rules.zero().empty() && OneIn(3)) return 0;
    if (OneIn(8)) return rules.min();
    if (OneIn(8)) return rules.max();
    // Near the least as often as far from it.
    const double part = std::pow(10, -9 * random_.Unit());
    return rules.min() + part * (rules.max() - rules.min());
  }

  void Draw(Message* message, const FieldDescriptor& field,
            const v1::Rules& rules) {
    const auto& reflection = *message->GetReflection();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_BOOL:
        return reflection.SetBool(message, &field, OneIn(2));
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return reflection.SetDouble(message, &field, Number(rules));
      case FieldDescriptor::CPPTYPE_UINT32:
        return reflection.SetUInt32(message, &field,
                                    static_cast<uint32_t>(Number(rules)));
      case FieldDescriptor::CPPTYPE_UINT64:
        return reflection.SetUInt64(message, &field,
                                    static_cast<uint64_t>(Number(rules)));
      case FieldDescriptor::CPPTYPE_ENUM:
        return reflection.SetEnumValue(
            message, &field,
            static_cast<int>(random_.Below(field.enum_type()->value_count())));
      case FieldDescriptor::CPPTYPE_STRING:
        return DrawString(message, field);
      case FieldDescriptor::CPPTYPE_MESSAGE: {
        auto* duration = static_cast<google::protobuf::Duration*>(
            reflection.MutableMessage(message, &field));
        const double seconds = Number(rules);
        duration->set_seconds(static_cast<int64_t>(seconds));
        duration->set_nanos(
            static_cast<int32_t>(1e9 * (seconds - std::floor(seconds))));
        return;
      }
      default:
        return;
    }
  }

  void DrawString(Message* message, const FieldDescriptor& field) {
    const auto& reflection = *message->GetReflection();
    static const char* const codes[] = {"UNAVAILABLE", "ABORTED", "INTERNAL"};
    const std::string& name = field.name();
    if (name == "codes") {
      const uint64_t first = random_.Below(3);
      reflection.AddString(message, &field, codes[first]);
      if (OneIn(2))
        reflection.AddString(message, &field, codes[(first + 1) % 3]);
    } else if (name == "servers") {
      reflection.AddString(message, &field, "10.0.0.53:53");
      if (OneIn(2)) reflection.AddString(message, &field, "[::1]:5353");
    } else {
      reflection.SetString(message, &field,
                           name == "abort_code"     ? codes[random_.Below(3)]
                           : name == "probe_method" ? "/a.B/" + Word()
                           : name == "authority"    ? Word()
                                                    : AnyText());
    }
  }

  std::string Word() {
    static const char* const words[] = {"cart",  "catalog-2", "on",  "1e3",
                                        "Null",  "a_b",       "x.y", "0",
                                        "{a:b}", "#1",        "'q'", "<<"};
    return words[random_.Below(std::size(words))];
  }

  std::string AnyText() {
    static const char* const parts[] = {
        "a",  " ",  ":",      "#",      "\"",         "'",  "\\",
        "\n", "\t", "\x01",   "\u00e9", "\U0001F600", "- ", "{",
        "]",  ",",  "\u2028", "\u0085", "true",       "1",  "\ufeff"};
    if (OneIn(12)) return "<<";
    std::string text;
    while (!OneIn(4)) text += parts[random_.Below(std::size(parts))];
    return text;
  }

  static std::string Name(const FieldDescriptor& field) {
    return absl::StrCat(field.containing_type()->name(), ".", field.name());
  }

  // All fields of `type` and of what is in it.
  static void Collect(const google::protobuf::Descriptor& type,
                      std::set<std::string>* all) {
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      if (!type.options().map_entry() && !all->insert(Name(field)).second) {
        return;
      }
      if (IsGroup(field)) Collect(*field.message_type(), all);
    }
  }

  void Note(const Message& message) {
    std::vector<const FieldDescriptor*> fields;
    message.GetReflection()->ListFields(message, &fields);
    for (const FieldDescriptor* field : fields) {
      if (!message.GetDescriptor()->options().map_entry()) {
        seen_.insert(Name(*field));
      }
      if (!IsGroup(*field)) continue;
      if (!field->is_repeated()) {
        Note(message.GetReflection()->GetMessage(message, field));
        continue;
      }
      for (int i = 0; i < message.GetReflection()->FieldSize(message, field);
           ++i) {
        Note(message.GetReflection()->GetRepeatedMessage(message, field, i));
      }
    }
  }

  const std::string directory_;
  base::Random random_{0};
  std::set<std::string> seen_;
};

}  // namespace mesh::config

#endif  // MESH_CONFIG_RANDOM_CONFIG_TEST_UTIL_H_
