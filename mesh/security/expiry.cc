#include "mesh/security/expiry.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace mesh::security {
namespace {

using Kind = IdentityNotice::Kind;

constexpr int kSteps = 3;
constexpr struct {
  Kind kind;
  int part;  // One of so many parts of the lifetime is left. 0: nothing.
  const char* left;
} kTable[kSteps] = {
    {Kind::kThirdLeft, 3, "less than a third of its lifetime is left"},
    {Kind::kTenthLeft, 10, "less than a tenth of its lifetime is left"},
    {Kind::kExpired, 0, "it has expired"},
};

}  // namespace

std::string WrittenTime(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

void ExpiryAlarm::Set(const Identity& identity) {
  from_ = identity.not_before();
  until_ = identity.not_after();
  step_ = until_ == absl::InfiniteFuture() ? kSteps : 0;
}

absl::Time ExpiryAlarm::At(int step) const {
  if (step >= kSteps) return absl::InfiniteFuture();
  const int part = kTable[step].part;
  return part == 0 ? until_ : until_ - (until_ - from_) / part;
}

absl::Time ExpiryAlarm::next() const { return At(step_); }

std::optional<IdentityNotice> ExpiryAlarm::Due(absl::Time now) {
  int last = -1;
  while (step_ < kSteps && At(step_) <= now) last = step_++;
  if (last < 0) return std::nullopt;
  return IdentityNotice{
      kTable[last].kind,
      absl::StrCat("the identity that is in force has not been renewed: ",
                   kTable[last].left, "; it ends at ", WrittenTime(until_),
                   ", and now it is ", WrittenTime(now), ".")};
}

}  // namespace mesh::security
