#include "mesh/security/workload_policy.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace mesh::security {
namespace {

using Kind = IdentityNotice::Kind;

// Whether the identity is what the agent calls it, and trusts itself.
absl::Status CheckSvid(const Identity& identity, const std::string& id) {
  if (!identity.spiffe_id().has_value() || identity.spiffe_id()->text() != id) {
    return absl::InvalidArgumentError(
        absl::StrCat("the agent calls the SVID ", Quoted(id),
                     ", and its certificate says something else."));
  }
  if (!identity.is_trusted_by_itself()) {
    return absl::InvalidArgumentError(identity.warnings().empty()
                                          ? "it does not trust itself."
                                          : identity.warnings().front());
  }
  return absl::OkStatus();
}

}  // namespace

bool WorkloadPolicy::WantsOpen(Moment now) const {
  return !is_open_ && now.steady >= open_at_;
}

void WorkloadPolicy::OnOpen(Moment now) {
  is_open_ = true;
  opened_at_ = now.steady;
  is_good_ = false;
  is_stale_ = false;
  was_silent_ = false;
  answer_by_ = now.steady + kPatience;
}

bool WorkloadPolicy::GivesUp(Moment now) {
  if (!is_open_) return false;
  const bool silent = now.steady >= answer_by_;
  if (!silent && !is_stale_) return false;
  was_silent_ = silent;
  is_stale_ = false;
  answer_by_ = absl::InfiniteFuture();
  return true;
}

WorkloadPolicy::Decision WorkloadPolicy::OnMessage(absl::string_view message,
                                                   Moment now) {
  Decision decision;
  answer_by_ = absl::InfiniteFuture();
  away_.clear();
  speak_at_ = absl::InfiniteFuture();
  // The newest counts, whatever becomes of it.
  waiting_.reset();
  valid_from_ = absl::InfiniteFuture();
  absl::StatusOr<SvidResponse> response = ReadSvidResponse(message, choice_);
  if (!response.ok()) {
    Refuse(absl::IsNotFound(response.status()) ? Kind::kNoAnswer : Kind::kBad,
           response.status().message(), &decision);
    return decision;
  }
  Try(*std::move(response), now, &decision);
  return decision;
}

void WorkloadPolicy::Try(SvidResponse response, Moment now,
                         Decision* decision) {
  absl::StatusOr<IdentityPtr> identity =
      Identity::Make(response.bytes, now.wall);
  const absl::Status good = identity.ok()
                                ? CheckSvid(**identity, response.spiffe_id)
                                : identity.status();
  if (absl::IsFailedPrecondition(good)) {
    valid_from_ = Identity::NotBefore(response.bytes).value();
    waiting_ = std::move(response);
    Refuse(Kind::kNotYetValid, good.message(), decision);
    return;
  }
  if (!good.ok()) {
    Refuse(Kind::kBad, good.message(), decision);
    return;
  }
  is_good_ = true;
  if (!said_.empty()) {
    said_.clear();
    decision->notices.push_back(
        {Kind::kRecovered,
         absl::StrCat("the agent at ", agent_, " gives an identity again.")});
  }
  if (published_ != nullptr && published_->bytes() == (*identity)->bytes()) {
    return;
  }
  for (IdentityNotice& notice : WarningsOf(published_.get(), **identity)) {
    decision->notices.push_back(std::move(notice));
  }
  age_.Set(**identity);
  published_ = *identity;
  decision->publish = *std::move(identity);
}

std::string WorkloadPolicy::Stays() const {
  if (published_ == nullptr) return "";
  return absl::StrCat(" The last good identity stays; it ends at ",
                      WrittenTime(published_->not_after()), ".");
}

void WorkloadPolicy::Refuse(Kind kind, absl::string_view why,
                            Decision* decision) {
  if (said_ == why) return;
  said_ = std::string(why);
  decision->notices.push_back(
      {kind, absl::StrCat("the agent at ", agent_, ": ", why, Stays())});
}

void WorkloadPolicy::OnEnd(const absl::Status& status, Moment now) {
  if (is_good_ && now.steady - opened_at_ >= kGoodLife) delay_ = kMinDelay;
  is_open_ = false;
  open_at_ = now.steady + delay_ * (0.5 + 0.5 * random_.Unit());
  delay_ = std::min(2 * delay_, kMaxDelay);
  if (away_.empty()) speak_at_ = now.steady + kSilence;
  away_ = was_silent_
              ? "it does not answer."
              : absl::StrCat(absl::StatusCodeToString(status.code()), ": ",
                             absl::StripSuffix(status.message(), "."), ".");
}

WorkloadPolicy::Decision WorkloadPolicy::OnTime(Moment now) {
  Decision decision;
  if (waiting_.has_value() && now.wall >= valid_from_) {
    valid_from_ = absl::InfiniteFuture();
    Try(*std::exchange(waiting_, std::nullopt), now, &decision);
  }
  if (now.steady >= speak_at_ && !away_.empty()) {
    // Once for each reason, as long as it lasts.
    Refuse(Kind::kNoAnswer, away_, &decision);
  }
  if (age_.Due(now.wall).has_value()) is_stale_ = is_open_;
  return decision;
}

absl::Time WorkloadPolicy::Next(Moment now) const {
  absl::Time next = is_open_ ? answer_by_ : open_at_;
  if (is_open_ && is_stale_) next = now.steady;
  if (!away_.empty() && said_ != away_) next = std::min(next, speak_at_);
  // Dates are by the other clock, which may jump: ask each second.
  const absl::Time date = std::min(age_.next(), valid_from_);
  if (date != absl::InfiniteFuture()) {
    next =
        std::min(next, now.steady + std::min(date - now.wall,
                                             absl::Duration(absl::Seconds(1))));
  }
  return std::max(next, now.steady);
}

}  // namespace mesh::security
