#include "mesh/config/service_config.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "mesh/config/document.h"
#include "mesh/config/text.h"

namespace mesh::config {
namespace {

using Kind = Node::Kind;

constexpr int kMaxAttempts = 5;  // gRFC A6: more is taken as this.

// The least that the schema has. An attempt that ends sooner needs no hedge.
constexpr absl::Duration kMinHedgingDelay = absl::Microseconds(100);

class ServiceConfigReader {
 public:
  explicit ServiceConfigReader(Problems* problems) : problems_(*problems) {}

  GrpcServiceConfig Read(const Node& root) {
    if (root.kind != Kind::kMap) {
      Add(root, "the service config must be a map, but is ", Describe(root));
      return {};
    }
    const Node* configs = Get(root, "", "methodConfig", Kind::kList);
    if (configs == nullptr) return {};
    for (size_t i = 0; i < configs->items.size(); ++i) {
      ReadMethodConfig(*configs->items[i],
                       IndexPath("methodConfig", static_cast<int>(i)));
    }
    return std::move(result_);
  }

 private:
  template <typename... Parts>
  void Add(const Node& node, const Parts&... parts) {
    problems_.Add(node.at, absl::StrCat(parts...));
  }

  static absl::string_view KindText(Kind kind) {
    switch (kind) {
      case Kind::kNull:
        return "null";
      case Kind::kBool:
        return "true or false";
      case Kind::kInteger:
        return "an integer";
      case Kind::kNumber:
        return "a number";
      case Kind::kString:
        return "a string";
      case Kind::kList:
        return "a list";
      case Kind::kMap:
        return "a map";
    }
    return "";
  }

  // The value of `key` in `map`, which must be of `kind`; null when it is
  // absent or wrong, which is reported. A key may stand there only once.
  const Node* Get(const Node& map, const std::string& path,
                  absl::string_view key, Kind kind) {
    const Node* found = nullptr;
    for (const Node::Entry& entry : map.entries) {
      if (entry.key != key) continue;
      if (found != nullptr) {
        problems_.Add(entry.key_at,
                      absl::StrCat(FieldPath(path, key), " is given twice"));
        return found;
      }
      found = entry.value.get();
    }
    if (found == nullptr || found->kind == Kind::kNull) return nullptr;
    const bool integer_for_number =
        kind == Kind::kNumber && found->kind == Kind::kInteger;
    if (found->kind != kind && !integer_for_number) {
      Add(*found, FieldPath(path, key), " must be ", KindText(kind),
          ", but is ", Describe(*found));
      return nullptr;
    }
    return found;
  }

  // As Get(), of a field that must be there.
  const Node* Require(const Node& map, const std::string& path,
                      absl::string_view key, Kind kind) {
    const bool there = std::any_of(
        map.entries.begin(), map.entries.end(), [&](const Node::Entry& entry) {
          return entry.key == key && entry.value->kind != Kind::kNull;
        });
    if (there) return Get(map, path, key, kind);
    Add(map, FieldPath(path, key), " is missing");
    return nullptr;
  }

  // A google.protobuf.Duration as JSON has it: seconds with an "s".
  std::optional<absl::Duration> Duration(const Node* node,
                                         const std::string& path,
                                         bool may_be_zero) {
    if (node == nullptr) return std::nullopt;
    absl::Duration value;
    absl::string_view digits = node->text;
    if (!absl::ConsumeSuffix(&digits, "s") || digits.empty() ||
        !(digits.back() >= '0' && digits.back() <= '9') ||
        DurationFromText(node->text, &value) != DurationText::kGood) {
      Add(*node, path, " must be seconds such as \"1.5s\", but is ",
          Describe(*node));
      return std::nullopt;
    }
    if (value == absl::ZeroDuration() && !may_be_zero) {
      Add(*node, path, " must be more than 0s, but is 0s");
      return std::nullopt;
    }
    return value;
  }

  void ReadMethodConfig(const Node& node, const std::string& path) {
    if (node.kind != Kind::kMap) {
      Add(node, path, " must be a map, but is ", Describe(node));
      return;
    }
    GrpcMethodConfig config;
    config.timeout = Duration(Get(node, path, "timeout", Kind::kString),
                              FieldPath(path, "timeout"), /*may_be_zero=*/true);
    if (const Node* wait = Get(node, path, "waitForReady", Kind::kBool)) {
      config.wait_for_ready = wait->text == "true";
    }
    if (const Node* retry = Get(node, path, "retryPolicy", Kind::kMap)) {
      config.retry = ReadRetry(*retry, FieldPath(path, "retryPolicy"));
    }
    if (const Node* hedging = Get(node, path, "hedgingPolicy", Kind::kMap)) {
      if (config.retry.has_value()) {
        Add(*hedging, path,
            " must have only one of retryPolicy and hedgingPolicy");
      }
      ReadHedging(*hedging, FieldPath(path, "hedgingPolicy"), &config);
    }
    const Node* names = Get(node, path, "name", Kind::kList);
    if (names == nullptr) return;  // It counts for no method.
    for (size_t i = 0; i < names->items.size(); ++i) {
      const Node& name = *names->items[i];
      const std::string name_path =
          IndexPath(FieldPath(path, "name"), static_cast<int>(i));
      const std::optional<std::string> pattern = ReadName(name, name_path);
      if (!pattern.has_value()) continue;
      if (!result_.methods.emplace(*pattern, config).second) {
        Add(name, name_path, " is a name that another methodConfig has");
      }
    }
  }

  std::optional<std::string> ReadName(const Node& node,
                                      const std::string& path) {
    if (node.kind != Kind::kMap) {
      Add(node, path, " must be a map, but is ", Describe(node));
      return std::nullopt;
    }
    const Node* service = Get(node, path, "service", Kind::kString);
    const Node* method = Get(node, path, "method", Kind::kString);
    const bool any_method = method == nullptr || method->text.empty();
    if (service == nullptr || service->text.empty()) {
      if (any_method) return "";
      Add(node, path, " has a method but no service");
      return std::nullopt;
    }
    if (service->text[0] == '/') {
      Add(*service, FieldPath(path, "service"), " must begin without a slash");
      return std::nullopt;
    }
    return absl::StrCat(service->text, "/", any_method ? "*" : method->text);
  }

  std::optional<options::RetryOptions> ReadRetry(const Node& node,
                                                 const std::string& path) {
    options::RetryOptions retry;
    retry.max_attempts = ReadMaxAttempts(node, path);
    const auto backoff = [&](absl::string_view key, absl::Duration* value) {
      *value = Duration(Require(node, path, key, Kind::kString),
                        FieldPath(path, key), /*may_be_zero=*/false)
                   .value_or(*value);
    };
    backoff("initialBackoff", &retry.initial_backoff);
    backoff("maxBackoff", &retry.max_backoff);
    retry.initial_backoff = std::min(retry.initial_backoff, retry.max_backoff);
    if (const Node* multiplier =
            Require(node, path, "backoffMultiplier", Kind::kNumber)) {
      if (!absl::SimpleAtod(multiplier->text, &retry.backoff_multiplier) ||
          !(retry.backoff_multiplier > 0) ||
          !std::isfinite(retry.backoff_multiplier)) {
        Add(*multiplier, FieldPath(path, "backoffMultiplier"),
            " must be a finite number of more than 0, but is ",
            Describe(*multiplier));
      }
    }
    if (const Node* codes =
            Require(node, path, "retryableStatusCodes", Kind::kList)) {
      const std::string codes_path = FieldPath(path, "retryableStatusCodes");
      if (codes->items.empty()) Add(*codes, codes_path, " must not be empty");
      retry.codes = ReadCodes(*codes, codes_path);
    }
    return retry;
  }

  // A hedge that fails with a non-fatal code makes the next one go at once:
  // that is a retry that goes elsewhere.
  void ReadHedging(const Node& node, const std::string& path,
                   GrpcMethodConfig* config) {
    options::HedgingOptions hedging;
    hedging.mode = options::Mode::kEnforce;
    hedging.max_attempts = ReadMaxAttempts(node, path);
    const Node* delay = Get(node, path, "hedgingDelay", Kind::kString);
    const std::string delay_path = FieldPath(path, "hedgingDelay");
    hedging.delay = std::max(kMinHedgingDelay,
                             Duration(delay, delay_path, /*may_be_zero=*/true)
                                 .value_or(absl::ZeroDuration()));
    if (delay != nullptr && config->timeout.has_value() &&
        *hedging.delay >= *config->timeout) {
      Add(*delay, delay_path, " must be less than timeout, ",
          DurationToText(*config->timeout), ", but is ",
          DurationToText(*hedging.delay));
    }
    options::RetryOptions retry;
    retry.max_attempts = 1;
    if (const Node* codes =
            Get(node, path, "nonFatalStatusCodes", Kind::kList)) {
      retry.codes = ReadCodes(*codes, FieldPath(path, "nonFatalStatusCodes"));
      if (!codes->items.empty()) retry.max_attempts = hedging.max_attempts;
    }
    config->hedging = hedging;
    config->retry = retry;
  }

  // What a retry or hedging policy allows: 2..kMaxAttempts, if there is no
  // problem.
  int ReadMaxAttempts(const Node& node, const std::string& path) {
    const Node* attempts = Require(node, path, "maxAttempts", Kind::kInteger);
    if (attempts == nullptr) return 2;
    int64_t value;
    // What does not fit is very many, or very negative.
    if (!absl::SimpleAtoi(attempts->text, &value)) {
      value = attempts->text[0] == '-' ? 0 : kMaxAttempts;
    }
    if (value < 2) {
      Add(*attempts, FieldPath(path, "maxAttempts"),
          " must be at least 2, but is ", Describe(*attempts));
    }
    return static_cast<int>(std::clamp<int64_t>(value, 2, kMaxAttempts));
  }

  options::StatusCodeSet ReadCodes(const Node& node, const std::string& path) {
    options::StatusCodeSet codes;
    for (size_t i = 0; i < node.items.size(); ++i) {
      const Node& item = *node.items[i];
      const std::string item_path = IndexPath(path, static_cast<int>(i));
      std::optional<absl::StatusCode> code;
      if (item.kind == Kind::kString) {
        code = StatusCodeFromName(item.text);
      } else if (int number; item.kind == Kind::kInteger &&
                             absl::SimpleAtoi(item.text, &number) &&
                             number >= 0 && number <= 16) {
        code = static_cast<absl::StatusCode>(number);
      }
      if (!code.has_value()) {
        Add(item, item_path, " must be a status code, but is ", Describe(item),
            item.kind == Kind::kString ? DidYouMeanStatus(item.text) : "");
        continue;
      }
      if (*code == absl::StatusCode::kOk ||
          *code == absl::StatusCode::kCancelled) {
        Add(item, item_path, " must be the code of a failure, but is ",
            Quoted(absl::StatusCodeToString(*code)));
        continue;
      }
      codes = codes.With(*code);
    }
    return codes;
  }

  Problems& problems_;
  GrpcServiceConfig result_;
};

// gRPC's names of the codes are those of Abseil.
const std::vector<std::string>& StatusNames() {
  static const auto* const names = [] {
    auto* result = new std::vector<std::string>;
    for (int code = 0; code <= 16; ++code) {
      result->push_back(
          absl::StatusCodeToString(static_cast<absl::StatusCode>(code)));
    }
    return result;
  }();
  return *names;
}

}  // namespace

const GrpcMethodConfig* GrpcServiceConfig::Find(
    absl::string_view pattern) const {
  auto it = methods.find(std::string(pattern));
  if (it == methods.end()) {
    const size_t slash = pattern.rfind('/');
    if (slash != absl::string_view::npos) {
      it = methods.find(absl::StrCat(pattern.substr(0, slash), "/*"));
    }
  }
  if (it == methods.end()) it = methods.find("");
  return it == methods.end() ? nullptr : &it->second;
}

GrpcServiceConfig ParseGrpcServiceConfig(absl::string_view text,
                                         Problems* problems) {
  const NodePtr root = ParseJson(text, problems);
  if (root == nullptr) return {};
  return ServiceConfigReader(problems).Read(*root);
}

std::optional<absl::StatusCode> StatusCodeFromName(absl::string_view name) {
  const std::vector<std::string>& names = StatusNames();
  const auto it = std::find(names.begin(), names.end(), name);
  if (it == names.end()) return std::nullopt;
  return static_cast<absl::StatusCode>(it - names.begin());
}

std::string DidYouMeanStatus(absl::string_view name) {
  return DidYouMean(name, StatusNames());
}

}  // namespace mesh::config
