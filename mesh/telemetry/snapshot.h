#ifndef MESH_TELEMETRY_SNAPSHOT_H_
#define MESH_TELEMETRY_SNAPSHOT_H_

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace mesh::telemetry {

// Latencies, counted in buckets. Their upper bounds grow by about 1.5, from 50
// us to 100 s: 1, 1.5, 2, 3, 5 and 7 times each power of ten.
struct HistogramSnapshot {
  std::vector<absl::Duration>
      bounds;                    // Upper, inclusive; the last is infinite.
  std::vector<uint64_t> counts;  // As many as bounds.
  uint64_t count = 0;
  absl::Duration sum;

  // Estimate of the quantile `q` in [0, 1], interpolated within its bucket.
  // Zero when nothing was counted. The greatest finite bound for what lies
  // beyond it.
  absl::Duration Quantile(double q) const;
};

struct MethodSnapshot {
  std::string method;                   // "/shop.Cart/AddItem" or "other".
  std::array<uint64_t, 17> calls = {};  // Ended, by status code.
  uint64_t attempts = 0;                // Ended.
  uint64_t retries = 0;                 // By policy.
  uint64_t transparent_retries = 0;  // No server had seen the attempt before.
  uint64_t hedges = 0;               // Attempts made beside an unanswered one.
  uint64_t hedges_won = 0;           // Hedges that succeeded first.
  // Hedges that mode `enforce` would have made.
  uint64_t hedges_observed = 0;
  HistogramSnapshot latency;  // From the start of a call to its end.
  // The same by status code, for codes that occurred.
  std::map<int, HistogramSnapshot> latency_by_status;
};

struct EndpointSnapshot {
  std::string address;
  std::string state;   // "idle", "connecting", "ready", "failed".
  std::string health;  // "healthy", "suspect", "ejected", "probing", "ramping".
  double share = 1;    // The part of its picks that it still gets: 0 to 1.
  int64_t in_flight = 0;
  uint64_t attempts = 0;                // Ended.
  std::array<uint64_t, 17> ended = {};  // Attempts, by status code.
  uint64_t never_sent = 0;
};

// How often a guard ("max_calls", "breaker") refused a call or a retry.
struct RefusalSnapshot {
  std::string guard;
  uint64_t enforced = 0;
  uint64_t observed = 0;  // Mode `enforce` would have refused.
};

// How often endpoints became `to` ("ejected") for a reason ("latency").
struct HealthChangeSnapshot {
  std::string to;
  std::string cause;
  uint64_t enforced = 0;
  uint64_t observed = 0;  // Mode `enforce` would have changed them.
};

// The state of the guards in front of a service's calls.
struct AdmissionSnapshot {
  int64_t calls = 0;    // Under way; streams until their answers begin.
  int64_t streams = 0;  // Open, whether or not their answers have begun.
  int64_t waiting = 0;  // Calls that wait for an endpoint.
  int64_t retries = 0;  // Retries and hedges under way.
  std::string breaker;  // "closed", "open", "half_open". Empty: there is none.
  // What the breaker's window holds. While it is not closed: what the window
  // held when it opened.
  int64_t breaker_calls = 0;
  double breaker_failed_ratio = 0;  // The part of breaker_calls that failed.
  double throttle_probability = 0;  // How likely a call is to be dropped.
  int64_t concurrency_limit = 0;    // As it was found; 0: there is none.
  int64_t concurrency = 0;          // Calls that count against it.
  // Estimated latency of the service without a queue. Zero: not known yet.
  absl::Duration min_latency;
};

struct ServiceSnapshot {
  std::string service;
  std::vector<MethodSnapshot> methods;
  std::vector<EndpointSnapshot> endpoints;
  uint64_t endpoints_left_out = 0;  // Over the cap.
  uint64_t picks_waited = 0;        // Picks that had to wait for an endpoint.
  uint64_t picks_failed = 0;
  uint64_t retries_denied_by_budget = 0;  // Retries and hedges.
  double retry_budget_balance = 0;
  std::vector<RefusalSnapshot> refusals;             // Those that occurred.
  std::vector<HealthChangeSnapshot> health_changes;  // Those that occurred.
  uint64_t probes_sent = 0;                          // To silent endpoints.
  uint64_t probes_answered = 0;
  uint64_t probes_failed = 0;
  // Handshakes in which this process did not believe the server, by reason
  // ("not_allowed"). Those that gRPC itself refused are not among them.
  std::map<std::string, uint64_t> peers_refused;
  uint64_t peers_without_crl = 0;  // Admitted though a list is missing.
  AdmissionSnapshot admission;
  uint64_t discovery_updates = 0;
  uint64_t discovery_failures = 0;
  // Reports of an empty set that were held back.
  uint64_t discovery_doubted = 0;
  std::string discovery_error;  // What the last try met. Empty: it went well.
  // Connections that exist, those that drain too, by the generation of their
  // secrets. 0: credentials that are not renewed.
  std::map<uint64_t, uint64_t> connections_by_generation;
  uint64_t generations_open = 0;  // The most that one endpoint has.
};

// How often code that the application gave has thrown: an observer, the log
// sink or a fallback.
struct ExceptionsSnapshot {
  // As mesh::Options names it: "observers[0]", "log_sink", "fallbacks[cart]".
  std::string code;
  uint64_t count = 0;
};

// One identity: what this process shows to others, and whom it trusts.
struct IdentitySnapshot {
  // "process", or the service whose `tls` names files of its own.
  std::string name;
  uint64_t generation = 0;  // Grows with each new one. 0: there is none yet.
  std::string spiffe_id;    // Empty: it has none.
  std::string serial;  // The certificate has it, in hex. Empty: it shows none.
  absl::Time not_before = absl::InfinitePast();  // By the wall clock.
  absl::Time not_after = absl::InfiniteFuture();
  // How often its source had no newer one, by reason ("bad", "unreadable",
  // "not_yet_valid", "no_answer").
  std::map<std::string, uint64_t> refused;
  std::string error;  // The last such reason. Empty: all is well.
};

// How often a rule ("deny[3]", "allow") did not let a call pass.
struct DenialSnapshot {
  std::string rule;
  uint64_t enforced = 0;
  uint64_t observed = 0;  // `rules: enforce` would have refused it.
};

// The ports that are mesh's (Mesh::Listen()), together. Counts are those of
// servers that exist.
struct ServerSnapshot {
  std::string mode;  // "strict", "permissive", "plaintext".
  int64_t ports = 0;
  int64_t ports_failed = 0;  // Those that take no connections any more.
  // Connections that are open now.
  uint64_t connections_tls = 0;
  uint64_t connections_plaintext = 0;
  uint64_t connections_leaving = 0;  // Those that have to leave.
  // Connections ever.
  uint64_t accepted_tls = 0;
  uint64_t accepted_plaintext = 0;
  uint64_t closed_before_call = 0;  // A handshake that failed is among them.
  uint64_t closed_silent = 0;       // They sent nothing.
  uint64_t closed_other_bytes = 0;  // They began with neither TLS nor HTTP/2.
  uint64_t closed_not_taken = 0;    // The mode does not take them.
  uint64_t shut = 0;                // They had to leave, and did not.
  // Calls.
  uint64_t calls_plaintext = 0;
  uint64_t calls_unverified = 0;  // Refused: the peer is not believed.
  uint64_t calls_leaving = 0;     // Refused: the connection has to leave.
  // Peers that are not believed, by reason ("expired").
  std::map<std::string, uint64_t> peers_refused;
  uint64_t peers_without_crl = 0;  // Admitted though a list is missing.
  // By rule, since the rules are in force; those that occurred.
  std::vector<DenialSnapshot> denials;
  // Denied calls by who made them; "other" over the cap.
  std::map<std::string, uint64_t> denied_by_peer;
};

struct Snapshot {
  std::vector<ServiceSnapshot> services;  // By name.
  std::vector<IdentitySnapshot> identities;
  ServerSnapshot server;
  std::vector<ExceptionsSnapshot> exceptions;  // Those that occurred.
  uint64_t config_reloads = 0;
  uint64_t config_reload_failures = 0;
  std::string config_error;  // What the last reload met. Empty: it went well.
};

}  // namespace mesh::telemetry

#endif  // MESH_TELEMETRY_SNAPSHOT_H_
