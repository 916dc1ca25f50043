#ifndef MESH_RESILIENCE_HEALTH_COMPARISONS_H_
#define MESH_RESILIENCE_HEALTH_COMPARISONS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "mesh/cluster/live_endpoint.h"
#include "mesh/options/health.h"
#include "mesh/resilience/health/ledger.h"
#include "mesh/resilience/health/record.h"

namespace mesh::resilience {

// Compares each endpoint with its peers: latency, and success rate and failure
// percentage as gRFC A50 has them. It finds; whoever asks ejects. Not
// thread-safe.
//
// A look at the endpoints goes so: BeginLook(); for each of them Count(), and
// Take() once its health is settled; EndLook(); then what is compared.
class HealthComparisons {
 public:
  void SetOptions(const options::OutlierEjectionOptions& options);

  void BeginLook(int64_t now);
  // So much was counted of an endpoint since the last look.
  void Count(const Counted& counted, HealthRecord* record);
  // Whether the endpoint at `index` takes part in what is compared.
  void Take(size_t index, const cluster::LiveEndpoint* endpoint,
            HealthRecord* record);
  // `in_use`: endpoints that are connected and not out.
  void EndLook(uint32_t in_use, int64_t now);

  // An endpoint that is to be compared. It may have gone since.
  struct Subject {
    size_t index;
    const cluster::LiveEndpoint* endpoint;
  };
  size_t latencies() const { return compares_latency_ ? reporters_.size() : 0; }
  Subject latency_subject(size_t place) const {
    return {reporters_[place].index, reporters_[place].endpoint};
  }
  // The log2 of its latency when it is slower than its peers beyond doubt.
  std::optional<double> CompareLatency(size_t place, int64_t now,
                                       HealthRecord* record);

  size_t successes() const { return candidates_.size(); }
  Subject success_subject(size_t place) const {
    return {candidates_[place].index, candidates_[place].endpoint};
  }
  bool SuccessRateIsLow(size_t place) const;
  bool FailurePercentageIsHigh(size_t place) const;

  // Whether a probe of an endpoint has taken for longer than its peers take.
  bool IsSlowProbe(const HealthRecord& record, const Finding& finding) const;
  // Whether an endpoint that was ejected for its latency would be no worse
  // than the others by now.
  bool PeersAreAsSlow(const HealthRecord& record, int64_t now) const;

 private:
  // An endpoint that has answered since the last comparison of latencies.
  struct Reporter {
    size_t index;
    const cluster::LiveEndpoint* endpoint;
    double log_latency;  // Mean.
  };
  struct Candidate {
    size_t index;
    const cluster::LiveEndpoint* endpoint;
    double success_rate;
    uint32_t total;
  };

  // Log2 of a latency varies by so much until more is known: a factor of four
  // either way.
  static constexpr double kFirstVariance = 4;

  void PrepareLatencies(uint32_t in_use, int64_t now);
  void PrepareSuccessRates();
  double ReferenceFor(size_t place) const;

  options::OutlierEjectionOptions options_;
  double slow_from_ = 0;  // log2 of latency.factor.

  // The look that is under way.
  bool compares_latency_ = false;
  std::vector<Reporter> reporters_;
  std::vector<double> sorted_;  // Their latencies.
  bool compares_success_ = false;
  std::vector<Candidate> candidates_;
  uint32_t look_timed_ = 0;
  double look_log_ = 0;

  int64_t latency_since_ = 0;
  double variance_ = kFirstVariance;  // The log2 of one attempt varies so.
  double reference_ = 0;              // Usual log2; 0: unknown.
  // Mean log2 of the latest answers of endpoints in use; 0: unknown.
  double recent_log_ = 0;
  int64_t success_since_ = 0;
  double success_threshold_ = -1;
  bool failure_percentage_ = false;
};

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_HEALTH_COMPARISONS_H_
