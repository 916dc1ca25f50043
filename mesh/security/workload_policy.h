#ifndef MESH_SECURITY_WORKLOAD_POLICY_H_
#define MESH_SECURITY_WORKLOAD_POLICY_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/base/random.h"
#include "mesh/security/expiry.h"
#include "mesh/security/files_policy.h"
#include "mesh/security/identity.h"
#include "mesh/security/source.h"
#include "mesh/security/svid_response.h"

namespace mesh::security {

// Decides when the stream of the Workload API is opened and given up, what of
// its messages is published, and what is said. Does no I/O and knows no thread:
// WorkloadApiSource acts. Not thread-safe.
//
// A stream that ends is opened again, for ever, after a delay that doubles up
// to kMaxDelay. One half of each delay is random, so that the processes of a
// machine do not all come at once when its agent is back.
class WorkloadPolicy {
 public:
  static constexpr absl::Duration kMinDelay = absl::Milliseconds(100);
  static constexpr absl::Duration kMaxDelay = absl::Seconds(5);
  // How long an agent may say nothing on a new stream.
  static constexpr absl::Duration kPatience = absl::Seconds(10);
  // A stream that lived so long was a good one: the delay begins anew.
  static constexpr absl::Duration kGoodLife = absl::Seconds(1);
  // How long there is silence about an agent that is away.
  static constexpr absl::Duration kSilence = absl::Seconds(2);

  struct Decision {
    IdentityPtr publish;  // Null: nothing.
    std::vector<IdentityNotice> notices;
  };

  // `agent`: where it is, for messages.
  WorkloadPolicy(SvidChoice choice, std::string agent, base::Random random)
      : choice_(std::move(choice)), agent_(std::move(agent)), random_(random) {}

  // Whether to open a stream now, and to say so by OnOpen().
  bool WantsOpen(Moment now) const;
  void OnOpen(Moment now);
  // Whether to give up the stream that is open; OnEnd() comes then, too. True
  // once for each stream at most.
  bool GivesUp(Moment now);
  // `message`: the bytes of an X509SVIDResponse.
  Decision OnMessage(absl::string_view message, Moment now);
  // The stream is over. It never ends well.
  void OnEnd(const absl::Status& status, Moment now);
  // Time has passed. May be called at any time.
  Decision OnTime(Moment now);
  // When to ask again, by the steady clock.
  absl::Time Next(Moment now) const;

 private:
  void Try(SvidResponse response, Moment now, Decision* decision);
  // What was read is no identity.
  void Refuse(IdentityNotice::Kind kind, absl::string_view why,
              Decision* decision);
  std::string Stays() const;

  const SvidChoice choice_;
  const std::string agent_;
  base::Random random_;

  bool is_open_ = false;
  absl::Time opened_at_ = absl::InfinitePast();
  bool is_good_ = false;     // The stream that is open has given an identity.
  bool is_stale_ = false;    // It may be dead: the identity grows old.
  bool was_silent_ = false;  // It was given up without an answer.
  absl::Time open_at_ = absl::InfinitePast();      // While none is open.
  absl::Time answer_by_ = absl::InfiniteFuture();  // While one is.
  absl::Duration delay_ = kMinDelay;

  IdentityPtr published_;
  ExpiryAlarm age_;  // When the agent is to be asked again. It tells nobody.
  std::optional<SvidResponse> waiting_;             // Whole, but not valid yet.
  absl::Time valid_from_ = absl::InfiniteFuture();  // By the wall clock.

  // Why there is no stream, and since when it is to be said.
  std::string away_;
  absl::Time speak_at_ = absl::InfiniteFuture();
  std::string said_;  // The last refusal that was told of. Empty: it is over.
};

}  // namespace mesh::security

#endif  // MESH_SECURITY_WORKLOAD_POLICY_H_
