#include "mesh/service/application.h"

#include <cstddef>
#include <cstdio>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mesh/telemetry/caught_observer.h"

namespace mesh::service {
namespace {

void LogToStderr(LogSeverity severity, absl::string_view line) {
  if (severity == LogSeverity::kInfo) return;
  std::fprintf(stderr, "mesh %s: %.*s\n",
               severity == LogSeverity::kError ? "error" : "warning",
               static_cast<int>(line.size()), line.data());
}

}  // namespace

Application::Application(
    LogSink log, std::vector<std::shared_ptr<telemetry::Observer>> observers,
    std::map<std::string, Fallback> fallbacks, base::ForeignCode::Tell tell)
    : log_(LogToStderr) {
  if (log) {
    auto border = Border("log_sink", [](const std::string& line) {
      LogToStderr(LogSeverity::kError, line);
    });
    log_ = [border = std::move(border), log = std::move(log)](
               LogSeverity severity, absl::string_view line) {
      border->Run([&] { log(severity, line); });
    };
  }
  for (size_t i = 0; i < observers.size(); ++i) {
    observers_.push_back(std::make_shared<telemetry::CaughtObserver>(
        std::move(observers[i]),
        Border(absl::StrCat("observers[", i, "]"), tell)));
  }
  for (auto& [service, fallback] : fallbacks) {
    if (!fallback) continue;
    auto border = Border(absl::StrCat("fallbacks[", service, "]"), tell);
    fallbacks_[service] = [border = std::move(border),
                           fallback =
                               std::move(fallback)](const FailedCall& call) {
      std::optional<grpc::ByteBuffer> reply;
      border->Run([&] { reply = fallback(call); });
      return reply;
    };
  }
}

std::shared_ptr<base::ForeignCode> Application::Border(
    std::string name, base::ForeignCode::Tell tell) {
  borders_.push_back(
      std::make_shared<base::ForeignCode>(std::move(name), std::move(tell)));
  return borders_.back();
}

const Fallback* Application::FallbackOf(const std::string& service) const {
  const auto found = fallbacks_.find(service);
  return found != fallbacks_.end() ? &found->second : nullptr;
}

std::vector<telemetry::ExceptionsSnapshot> Application::Exceptions() const {
  std::vector<telemetry::ExceptionsSnapshot> all;
  for (const auto& border : borders_) {
    if (border->thrown() == 0) continue;
    all.push_back({border->name(), border->thrown()});
  }
  return all;
}

}  // namespace mesh::service
