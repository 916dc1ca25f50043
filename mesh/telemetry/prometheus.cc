#include "mesh/telemetry/prometheus.h"

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "mesh/base/utf8.h"

namespace mesh::telemetry {
namespace {

// As a label's value is to be written. What is not UTF-8 becomes U+FFFD.
std::string Escape(absl::string_view value) {
  std::string escaped;
  while (!value.empty()) {
    const size_t length = base::Utf8Length(value);
    if (length == 0) {
      escaped += "\xef\xbf\xbd";
      value.remove_prefix(1);
      continue;
    }
    switch (value[0]) {
      case '\\':
        escaped += "\\\\";
        break;
      case '"':
        escaped += "\\\"";
        break;
      case '\n':
        escaped += "\\n";
        break;
      default:
        absl::StrAppend(&escaped, value.substr(0, length));
    }
    value.remove_prefix(length);
  }
  return escaped;
}

using Labels =
    std::initializer_list<std::pair<absl::string_view, absl::string_view>>;

// Writes the samples of one family.
class Samples {
 public:
  Samples(const MetricFamily& family, std::string* text)
      : family_(family), text_(text) {}

  void Add(Labels labels, uint64_t value) { Line("", labels, value); }
  void Add(Labels labels, double value) {
    Line("", labels, absl::StrFormat("%.9g", value));
  }

  // Nothing while it is 0.
  void AddOccurred(Labels labels, uint64_t value) {
    if (value != 0) Add(labels, value);
  }

  void Add(Labels labels, const HistogramSnapshot& histogram) {
    uint64_t cumulative = 0;
    for (size_t i = 0; i < histogram.counts.size(); ++i) {
      cumulative += histogram.counts[i];
      const absl::Duration bound = histogram.bounds[i];
      const std::string le =
          bound == absl::InfiniteDuration()
              ? "+Inf"
              : absl::StrFormat("%.9g", absl::ToDoubleSeconds(bound));
      Line("_bucket", labels, cumulative, le);
    }
    Line("_sum", labels,
         absl::StrFormat("%.15g", absl::ToDoubleSeconds(histogram.sum)));
    Line("_count", labels, cumulative);
  }

 private:
  template <typename Value>
  void Line(absl::string_view suffix, Labels labels, const Value& value,
            absl::string_view le = {}) {
    absl::StrAppend(text_, family_.name, suffix);
    char separator = '{';
    for (const auto& [name, label] : labels) {
      absl::StrAppend(text_, std::string(1, separator), name, "=\"",
                      Escape(label), "\"");
      separator = ',';
    }
    if (!le.empty()) {
      absl::StrAppend(text_, std::string(1, separator), "le=\"", le, "\"");
      separator = ',';
    }
    absl::StrAppend(text_, separator == ',' ? "} " : " ", value, "\n");
  }

  const MetricFamily& family_;
  std::string* const text_;
};

std::string CodeName(int code) {
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
}

// A family and how its samples come out of a snapshot.
struct Writer {
  MetricFamily family;
  std::function<void(const Snapshot&, Samples&)> write;
};

// Writers for what there is once a service, method or endpoint.
template <typename F>
auto PerService(F write) {
  return [write](const Snapshot& snapshot, Samples& samples) {
    for (const ServiceSnapshot& service : snapshot.services) {
      write(service, samples);
    }
  };
}
template <typename F>
auto PerMethod(F write) {
  return PerService([write](const ServiceSnapshot& service, Samples& samples) {
    for (const MethodSnapshot& method : service.methods) {
      write(service, method, samples);
    }
  });
}
template <typename F>
auto PerEndpoint(F write) {
  return PerService([write](const ServiceSnapshot& service, Samples& samples) {
    for (const EndpointSnapshot& endpoint : service.endpoints) {
      write(service, endpoint, samples);
    }
  });
}

// The one number that a service, method or endpoint has of a family.
template <typename T>
auto OfService(T ServiceSnapshot::*field) {
  return PerService([field](const ServiceSnapshot& service, Samples& samples) {
    samples.Add({{"grpc_target", service.service}}, service.*field);
  });
}
// As gRFC A66 has it: without the slash of HTTP/2's path.
absl::string_view MethodLabel(const MethodSnapshot& method) {
  return absl::StripPrefix(method.method, "/");
}
auto OfMethod(uint64_t MethodSnapshot::*field) {
  return PerMethod([field](const ServiceSnapshot& service,
                           const MethodSnapshot& method, Samples& samples) {
    samples.Add({{"grpc_target", service.service},
                 {"grpc_method", MethodLabel(method)}},
                method.*field);
  });
}

// The same of what may never happen: there is a series once it has.
auto EventsOfService(uint64_t ServiceSnapshot::*field) {
  return PerService([field](const ServiceSnapshot& service, Samples& samples) {
    samples.AddOccurred({{"grpc_target", service.service}}, service.*field);
  });
}
auto EventsOfMethod(uint64_t MethodSnapshot::*field) {
  return PerMethod([field](const ServiceSnapshot& service,
                           const MethodSnapshot& method, Samples& samples) {
    samples.AddOccurred({{"grpc_target", service.service},
                         {"grpc_method", MethodLabel(method)}},
                        method.*field);
  });
}

void AddRefusals(const ServiceSnapshot& service, Samples& samples) {
  for (const RefusalSnapshot& refusal : service.refusals) {
    for (const auto& [mode, count] : {std::pair("enforce", refusal.enforced),
                                      std::pair("observe", refusal.observed)}) {
      samples.AddOccurred({{"grpc_target", service.service},
                           {"guard", refusal.guard},
                           {"mode", mode}},
                          count);
    }
  }
}

void AddHealthChanges(const ServiceSnapshot& service, Samples& samples) {
  for (const HealthChangeSnapshot& change : service.health_changes) {
    for (const auto& [mode, count] : {std::pair("enforce", change.enforced),
                                      std::pair("observe", change.observed)}) {
      samples.AddOccurred({{"grpc_target", service.service},
                           {"to", change.to},
                           {"cause", change.cause},
                           {"mode", mode}},
                          count);
    }
  }
}

auto OfAdmission(int64_t AdmissionSnapshot::*field) {
  return PerService([field](const ServiceSnapshot& service, Samples& samples) {
    samples.Add({{"grpc_target", service.service}},
                static_cast<double>(service.admission.*field));
  });
}

bool HasBreaker(const AdmissionSnapshot& admission) {
  return !admission.breaker.empty();
}
bool HasLimit(const AdmissionSnapshot& admission) {
  return admission.concurrency_limit > 0;
}

// The number `value`, of services whose guards are such that `has`.
template <typename Has, typename Value>
auto PerAdmission(Has has, Value value) {
  return PerService(
      [has, value](const ServiceSnapshot& service, Samples& samples) {
        if (!has(service.admission)) return;
        samples.Add({{"grpc_target", service.service}},
                    double{value(service.admission)});
      });
}

constexpr bool kOnceOccurred = true;

const std::vector<Writer>& Writers() {  // Table.
  static const auto& writers = *new std::vector<Writer>{
      {{"grpc_client_call_duration_seconds", "histogram",
        "grpc_target grpc_method grpc_status",
        "Time from the start of a call to its end, with all its attempts.",
        kOnceOccurred},
       PerMethod([](const ServiceSnapshot& service,
                    const MethodSnapshot& method, Samples& samples) {
         for (const auto& [code, histogram] : method.latency_by_status) {
           samples.Add({{"grpc_target", service.service},
                        {"grpc_method", MethodLabel(method)},
                        {"grpc_status", CodeName(code)}},
                       histogram);
         }
       })},
      {{"mesh_client_attempts_total", "counter", "grpc_target grpc_method",
        "Attempts that have ended, first ones and repeated ones."},
       OfMethod(&MethodSnapshot::attempts)},
      {{"mesh_client_retries_total", "counter", "grpc_target grpc_method",
        "Attempts that the retry policy asked for.", kOnceOccurred},
       EventsOfMethod(&MethodSnapshot::retries)},
      {{"mesh_client_transparent_retries_total", "counter",
        "grpc_target grpc_method",
        "Attempts made again because no server had seen the one before.",
        kOnceOccurred},
       EventsOfMethod(&MethodSnapshot::transparent_retries)},
      {{"mesh_client_hedges_total", "counter", "grpc_target grpc_method mode",
        "Attempts made beside one that had not been answered (mode enforce), "
        "or that would have been (observe).",
        kOnceOccurred},
       PerMethod([](const ServiceSnapshot& service,
                    const MethodSnapshot& method, Samples& samples) {
         const auto add = [&](absl::string_view mode, uint64_t count) {
           samples.AddOccurred({{"grpc_target", service.service},
                                {"grpc_method", MethodLabel(method)},
                                {"mode", mode}},
                               count);
         };
         add("enforce", method.hedges);
         add("observe", method.hedges_observed);
       })},
      {{"mesh_client_hedges_won_total", "counter", "grpc_target grpc_method",
        "Of those, how many succeeded before the others.", kOnceOccurred},
       EventsOfMethod(&MethodSnapshot::hedges_won)},
      {{"mesh_retries_denied_by_budget_total", "counter", "grpc_target",
        "Retries and hedges that were due and that the budget denied.",
        kOnceOccurred},
       EventsOfService(&ServiceSnapshot::retries_denied_by_budget)},
      {{"mesh_retry_budget_balance", "gauge", "grpc_target",
        "Retries that the budget would grant right now."},
       OfService(&ServiceSnapshot::retry_budget_balance)},
      {{"mesh_refusals_total", "counter", "grpc_target guard mode",
        "Calls, retries and hedges that a guard refused, and faults that were "
        "injected (mode enforce); or that would have been (observe).",
        kOnceOccurred},
       PerService(AddRefusals)},
      {{"mesh_calls_in_flight", "gauge", "grpc_target",
        "Calls that have been admitted and have not ended. Of streams those "
        "whose answers have not begun."},
       OfAdmission(&AdmissionSnapshot::calls)},
      {{"mesh_streams_open", "gauge", "grpc_target",
        "Streams that have been admitted and have not ended."},
       OfAdmission(&AdmissionSnapshot::streams)},
      {{"mesh_calls_waiting", "gauge", "grpc_target",
        "Calls that wait for an endpoint."},
       OfAdmission(&AdmissionSnapshot::waiting)},
      {{"mesh_retries_in_flight", "gauge", "grpc_target",
        "Retries and hedges that have not ended."},
       OfAdmission(&AdmissionSnapshot::retries)},
      {{"mesh_breaker_state", "gauge", "grpc_target state",
        "1 for the state that the circuit breaker is in: closed, open or "
        "half_open."},
       PerService([](const ServiceSnapshot& service, Samples& samples) {
         if (service.admission.breaker.empty()) return;
         samples.Add({{"grpc_target", service.service},
                      {"state", service.admission.breaker}},
                     uint64_t{1});
       })},
      {{"mesh_breaker_calls", "gauge", "grpc_target",
        "Calls that the circuit breaker judges by: those of its window, or, "
        "unless it is closed, of the window in which it opened."},
       PerAdmission(HasBreaker,
                    [](const AdmissionSnapshot& admission) {
                      return static_cast<double>(admission.breaker_calls);
                    })},
      {{"mesh_breaker_failed_ratio", "gauge", "grpc_target",
        "Of these, the share that failed: 0 to 1."},
       PerAdmission(HasBreaker,
                    [](const AdmissionSnapshot& admission) {
                      return admission.breaker_failed_ratio;
                    })},
      {{"mesh_throttle_probability", "gauge", "grpc_target",
        "Probability with which the throttle drops a call, or would."},
       PerService([](const ServiceSnapshot& service, Samples& samples) {
         samples.Add({{"grpc_target", service.service}},
                     service.admission.throttle_probability);
       })},
      {{"mesh_concurrency_limit", "gauge", "grpc_target",
        "Calls in flight that adaptive concurrency allows, or would. 0: there "
        "is no limit."},
       OfAdmission(&AdmissionSnapshot::concurrency_limit)},
      {{"mesh_concurrency_calls_in_flight", "gauge", "grpc_target",
        "Calls in flight that count against it: all but streams. Only where "
        "there is a limit."},
       PerAdmission(HasLimit,
                    [](const AdmissionSnapshot& admission) {
                      return static_cast<double>(admission.concurrency);
                    })},
      {{"mesh_concurrency_min_latency_seconds", "gauge", "grpc_target",
        "Latency of the service without a queue, as adaptive concurrency "
        "estimates it. Once it is known."},
       PerAdmission(
           [](const AdmissionSnapshot& admission) {
             return admission.min_latency > absl::ZeroDuration();
           },
           [](const AdmissionSnapshot& admission) {
             return absl::ToDoubleSeconds(admission.min_latency);
           })},
      {{"mesh_picks_waited_total", "counter", "grpc_target",
        "Picks that had to wait for an endpoint to become ready.",
        kOnceOccurred},
       EventsOfService(&ServiceSnapshot::picks_waited)},
      {{"mesh_picks_failed_total", "counter", "grpc_target",
        "Picks that failed because there was no endpoint.", kOnceOccurred},
       EventsOfService(&ServiceSnapshot::picks_failed)},
      {{"mesh_endpoint_state", "gauge", "grpc_target address state",
        "1 for the state that the endpoint's connection is in: idle, "
        "connecting, ready or failed."},
       PerEndpoint([](const ServiceSnapshot& service,
                      const EndpointSnapshot& endpoint, Samples& samples) {
         samples.Add({{"grpc_target", service.service},
                      {"address", endpoint.address},
                      {"state", endpoint.state}},
                     uint64_t{1});
       })},
      {{"mesh_endpoint_health", "gauge", "grpc_target address health",
        "1 for what passive health checking thinks of the endpoint: healthy, "
        "trial, suspect, ejected, probing or ramping."},
       PerEndpoint([](const ServiceSnapshot& service,
                      const EndpointSnapshot& endpoint, Samples& samples) {
         samples.Add({{"grpc_target", service.service},
                      {"address", endpoint.address},
                      {"health", endpoint.health}},
                     uint64_t{1});
       })},
      {{"mesh_endpoint_share", "gauge", "grpc_target address",
        "Of the calls that balancing would give it, the share that health "
        "leaves the endpoint: 0 to 1."},
       PerEndpoint([](const ServiceSnapshot& service,
                      const EndpointSnapshot& endpoint, Samples& samples) {
         samples.Add(
             {{"grpc_target", service.service}, {"address", endpoint.address}},
             endpoint.share);
       })},
      {{"mesh_health_changes_total", "counter", "grpc_target to cause mode",
        "Times that an endpoint's health became `to` (mode enforce), or would "
        "have (observe).",
        kOnceOccurred},
       PerService(AddHealthChanges)},
      {{"mesh_probes_total", "counter", "grpc_target stage",
        "Probes of silent endpoints: sent, answered or failed.", kOnceOccurred},
       PerService([](const ServiceSnapshot& service, Samples& samples) {
         for (const auto& [stage, count] :
              {std::pair("sent", service.probes_sent),
               std::pair("answered", service.probes_answered),
               std::pair("failed", service.probes_failed)}) {
           samples.AddOccurred(
               {{"grpc_target", service.service}, {"stage", stage}}, count);
         }
       })},
      {{"mesh_endpoint_in_flight", "gauge", "grpc_target address",
        "Attempts in flight."},
       PerEndpoint([](const ServiceSnapshot& service,
                      const EndpointSnapshot& endpoint, Samples& samples) {
         samples.Add(
             {{"grpc_target", service.service}, {"address", endpoint.address}},
             static_cast<double>(endpoint.in_flight));
       })},
      {{"mesh_endpoint_attempts_total", "counter",
        "grpc_target address grpc_status", "Attempts that have ended.",
        kOnceOccurred},
       PerEndpoint([](const ServiceSnapshot& service,
                      const EndpointSnapshot& endpoint, Samples& samples) {
         for (size_t code = 0; code < endpoint.ended.size(); ++code) {
           samples.AddOccurred(
               {{"grpc_target", service.service},
                {"address", endpoint.address},
                {"grpc_status", CodeName(static_cast<int>(code))}},
               endpoint.ended[code]);
         }
       })},
      {{"mesh_endpoint_never_sent_total", "counter", "grpc_target address",
        "Attempts that ended before any server saw them.", kOnceOccurred},
       PerEndpoint([](const ServiceSnapshot& service,
                      const EndpointSnapshot& endpoint, Samples& samples) {
         samples.AddOccurred(
             {{"grpc_target", service.service}, {"address", endpoint.address}},
             endpoint.never_sent);
       })},
      {{"mesh_endpoints_left_out", "gauge", "grpc_target",
        "Endpoints not listed because there are more than "
        "telemetry.max_endpoints."},
       OfService(&ServiceSnapshot::endpoints_left_out)},
      {{"mesh_connections", "gauge", "grpc_target generation",
        "Connections that exist, those that drain too, by the generation of "
        "the identity they were made with. 0: without one.",
        kOnceOccurred},
       PerService([](const ServiceSnapshot& service, Samples& samples) {
         for (const auto& [generation, count] :
              service.connections_by_generation) {
           samples.Add({{"grpc_target", service.service},
                        {"generation", absl::StrCat(generation)}},
                       count);
         }
       })},
      {{"mesh_generations_open", "gauge", "grpc_target",
        "The most generations that one endpoint has connections of.",
        kOnceOccurred},
       EventsOfService(&ServiceSnapshot::generations_open)},
      {{"mesh_discovery_updates_total", "counter", "grpc_target",
        "Sets of endpoints that discovery gave."},
       OfService(&ServiceSnapshot::discovery_updates)},
      {{"mesh_discovery_failures_total", "counter", "grpc_target",
        "Times that discovery failed; the last good set is kept then.",
        kOnceOccurred},
       EventsOfService(&ServiceSnapshot::discovery_failures)},
      {{"mesh_discovery_doubted_total", "counter", "grpc_target",
        "Reports of an empty set that were held back.", kOnceOccurred},
       EventsOfService(&ServiceSnapshot::discovery_doubted)},
      {{"mesh_discovery_failing", "gauge", "grpc_target",
        "1 when the last try of discovery failed, otherwise 0."},
       PerService([](const ServiceSnapshot& service, Samples& samples) {
         samples.Add({{"grpc_target", service.service}},
                     uint64_t{!service.discovery_error.empty()});
       })},
      {{"mesh_application_exceptions_total", "counter", "code",
        "Exceptions that the application's code threw and that were caught: "
        "of an observer, the log sink or a fallback.",
        kOnceOccurred},
       [](const Snapshot& snapshot, Samples& samples) {
         for (const ExceptionsSnapshot& thrown : snapshot.exceptions) {
           samples.Add({{"code", thrown.code}}, thrown.count);
         }
       }},
      {{"mesh_config_reloads_total", "counter", "",
        "Configurations applied after the first."},
       [](const Snapshot& snapshot, Samples& samples) {
         samples.Add({}, snapshot.config_reloads);
       }},
      {{"mesh_config_reload_failures_total", "counter", "",
        "Configurations rejected; the last good one is kept then."},
       [](const Snapshot& snapshot, Samples& samples) {
         samples.Add({}, snapshot.config_reload_failures);
       }},
      {{"mesh_config_failing", "gauge", "",
        "1 when the last configuration was rejected, otherwise 0."},
       [](const Snapshot& snapshot, Samples& samples) {
         samples.Add({}, uint64_t{!snapshot.config_error.empty()});
       }},
  };
  return writers;
}

// The numbers of the ports of mesh, where there is one.
template <typename F>
auto OfServer(F write) {
  return [write](const Snapshot& snapshot, Samples& samples) {
    if (snapshot.server.ports > 0) write(snapshot.server, samples);
  };
}
auto EventsOfServer(uint64_t ServerSnapshot::*field) {
  return OfServer([field](const ServerSnapshot& server, Samples& samples) {
    samples.AddOccurred({}, server.*field);
  });
}
template <typename F>
auto PerIdentity(F write) {
  return [write](const Snapshot& snapshot, Samples& samples) {
    for (const IdentitySnapshot& identity : snapshot.identities) {
      write(identity, samples);
    }
  };
}

void AddClosed(const ServerSnapshot& server, Samples& samples) {
  for (const auto& [cause, count] :
       {std::pair("before_call", server.closed_before_call),
        std::pair("silent", server.closed_silent),
        std::pair("other_bytes", server.closed_other_bytes),
        std::pair("not_taken", server.closed_not_taken),
        std::pair("had_to_leave", server.shut)}) {
    samples.AddOccurred({{"cause", cause}}, count);
  }
}

void AddDenials(const ServerSnapshot& server, Samples& samples) {
  for (const DenialSnapshot& denial : server.denials) {
    for (const auto& [mode, count] : {std::pair("enforce", denial.enforced),
                                      std::pair("observe", denial.observed)}) {
      samples.AddOccurred({{"rule", denial.rule}, {"mode", mode}}, count);
    }
  }
}

// What identities and the ports of mesh count.
const std::vector<Writer>& SecurityWriters() {  // Table.
  static const auto& writers = *new std::vector<Writer>{
      {{"mesh_identity_generation", "gauge", "identity",
        "A number that grows with each new identity of the process or of a "
        "service with files of its own. 0: there is none yet."},
       PerIdentity([](const IdentitySnapshot& identity, Samples& samples) {
         samples.Add({{"identity", identity.name}}, identity.generation);
       })},
      {{"mesh_identity_expires_timestamp_seconds", "gauge", "identity serial",
        "When the certificate ends, in seconds since 1970. The serial is its "
        "number in hex."},
       PerIdentity([](const IdentitySnapshot& identity, Samples& samples) {
         if (identity.serial.empty()) return;
         samples.Add(
             {{"identity", identity.name}, {"serial", identity.serial}},
             absl::ToDoubleSeconds(identity.not_after - absl::UnixEpoch()));
       })},
      {{"mesh_identity_refused_total", "counter", "identity reason",
        "Times that a source had no newer identity: unreadable, bad, "
        "not_yet_valid or no_answer. The last good one is kept.",
        kOnceOccurred},
       PerIdentity([](const IdentitySnapshot& identity, Samples& samples) {
         for (const auto& [reason, count] : identity.refused) {
           samples.AddOccurred(
               {{"identity", identity.name}, {"reason", reason}}, count);
         }
       })},
      {{"mesh_identity_failing", "gauge", "identity",
        "1 while the source has no newer identity for such a reason, otherwise "
        "0."},
       PerIdentity([](const IdentitySnapshot& identity, Samples& samples) {
         samples.Add({{"identity", identity.name}},
                     uint64_t{!identity.error.empty()});
       })},
      {{"mesh_peers_refused_total", "counter", "grpc_target reason",
        "Handshakes in which the server was not believed, by reason. Those "
        "that "
        "gRPC itself refused are not among them.",
        kOnceOccurred},
       PerService([](const ServiceSnapshot& service, Samples& samples) {
         for (const auto& [reason, count] : service.peers_refused) {
           samples.AddOccurred(
               {{"grpc_target", service.service}, {"reason", reason}}, count);
         }
       })},
      {{"mesh_peers_without_crl_total", "counter", "grpc_target",
        "Handshakes that admitted a server though an issuer has no list that "
        "holds (crl: if_present).",
        kOnceOccurred},
       EventsOfService(&ServiceSnapshot::peers_without_crl)},
      {{"mesh_server_ports_failed", "gauge", "",
        "Ports of mesh that take no connections any more, because the system "
        "failed them.",
        kOnceOccurred},
       OfServer([](const ServerSnapshot& server, Samples& samples) {
         samples.Add({}, static_cast<uint64_t>(server.ports_failed));
       })},
      {{"mesh_server_connections", "gauge", "wire",
        "Open connections to the ports of mesh: tls or plaintext.",
        kOnceOccurred},
       OfServer([](const ServerSnapshot& server, Samples& samples) {
         samples.Add({{"wire", "tls"}}, server.connections_tls);
         samples.Add({{"wire", "plaintext"}}, server.connections_plaintext);
       })},
      {{"mesh_server_connections_leaving", "gauge", "",
        "Those that have to leave, and are shut soon.", kOnceOccurred},
       OfServer([](const ServerSnapshot& server, Samples& samples) {
         samples.Add({}, server.connections_leaving);
       })},
      {{"mesh_server_connections_accepted_total", "counter", "wire",
        "Connections that the ports of mesh have taken.", kOnceOccurred},
       OfServer([](const ServerSnapshot& server, Samples& samples) {
         samples.AddOccurred({{"wire", "tls"}}, server.accepted_tls);
         samples.AddOccurred({{"wire", "plaintext"}},
                             server.accepted_plaintext);
       })},
      {{"mesh_server_connections_closed_total", "counter", "cause",
        "Connections without a call (before_call, handshakes that failed among "
        "them), without a byte (silent), with neither TLS nor HTTP/2 "
        "(other_bytes), of a wire that the mode does not take (not_taken), and "
        "those that mesh has shut (had_to_leave).",
        kOnceOccurred},
       OfServer(AddClosed)},
      {{"mesh_server_plaintext_calls_total", "counter", "",
        "Calls without TLS that were admitted.", kOnceOccurred},
       EventsOfServer(&ServerSnapshot::calls_plaintext)},
      {{"mesh_server_calls_refused_total", "counter", "reason",
        "Calls of a peer that is not believed (unverified), and calls on a "
        "connection that has to leave (leaving).",
        kOnceOccurred},
       OfServer([](const ServerSnapshot& server, Samples& samples) {
         samples.AddOccurred({{"reason", "unverified"}},
                             server.calls_unverified);
         samples.AddOccurred({{"reason", "leaving"}}, server.calls_leaving);
       })},
      {{"mesh_server_peers_refused_total", "counter", "reason",
        "Verdicts that do not believe a peer, by reason.", kOnceOccurred},
       OfServer([](const ServerSnapshot& server, Samples& samples) {
         for (const auto& [reason, count] : server.peers_refused) {
           samples.AddOccurred({{"reason", reason}}, count);
         }
       })},
      {{"mesh_server_peers_without_crl_total", "counter", "",
        "Verdicts that admit a peer though an issuer has no list that holds "
        "(crl: if_present).",
        kOnceOccurred},
       EventsOfServer(&ServerSnapshot::peers_without_crl)},
      {{"mesh_server_denied_calls_total", "counter", "rule mode",
        "Calls that rules did not let pass, by rule (mode enforce); or would "
        "not have (observe). They begin anew when the rules change.",
        kOnceOccurred},
       OfServer(AddDenials)},
      {{"mesh_server_denied_calls_by_peer_total", "counter", "peer",
        "Calls that rules did not let pass, by who made them. There are "
        "telemetry.max_peers names at most, and the rest is other.",
        kOnceOccurred},
       OfServer([](const ServerSnapshot& server, Samples& samples) {
         for (const auto& [peer, count] : server.denied_by_peer) {
           samples.AddOccurred({{"peer", peer}}, count);
         }
       })},
  };
  return writers;
}

void Write(const std::vector<Writer>& writers, const Snapshot& snapshot,
           std::string* text) {
  for (const Writer& writer : writers) {
    std::string lines;
    Samples samples(writer.family, &lines);
    writer.write(snapshot, samples);
    if (lines.empty()) continue;
    absl::StrAppend(text, "# HELP ", writer.family.name, " ",
                    writer.family.help, "\n# TYPE ", writer.family.name, " ",
                    writer.family.type, "\n", lines);
  }
}

}  // namespace

std::string PrometheusText(const Snapshot& snapshot) {
  std::string text;
  Write(Writers(), snapshot, &text);
  Write(SecurityWriters(), snapshot, &text);
  return text;
}

const std::vector<MetricFamily>& MetricFamilies() {
  static const auto& families = *new std::vector<MetricFamily>([] {
    std::vector<MetricFamily> all;
    for (const auto* writers : {&Writers(), &SecurityWriters()}) {
      for (const Writer& writer : *writers) all.push_back(writer.family);
    }
    return all;
  }());
  return families;
}

}  // namespace mesh::telemetry
