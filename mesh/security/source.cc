#include "mesh/security/source.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mesh/security/pem.h"
#include "mesh/security/trust.h"

namespace mesh::security {

absl::string_view IdentityNoticeName(IdentityNotice::Kind kind) {
  switch (kind) {
    case IdentityNotice::Kind::kUnreadable:
      return "unreadable";
    case IdentityNotice::Kind::kBad:
      return "bad";
    case IdentityNotice::Kind::kNotYetValid:
      return "not_yet_valid";
    case IdentityNotice::Kind::kNoAnswer:
      return "no_answer";
    case IdentityNotice::Kind::kRecovered:
      return "recovered";
    case IdentityNotice::Kind::kThirdLeft:
      return "third_left";
    case IdentityNotice::Kind::kTenthLeft:
      return "tenth_left";
    case IdentityNotice::Kind::kExpired:
      return "expired";
    case IdentityNotice::Kind::kWarning:
      return "warning";
  }
  return "unknown";
}

bool IsRefusal(IdentityNotice::Kind kind) {
  return kind <= IdentityNotice::Kind::kNoAnswer;
}

namespace {

// A source that behaves tells less of one identity.
constexpr size_t kMostKept = 50;

// Whether no certificate of `before` stands in `after`, which is another text.
bool KeepsNothing(const std::string& before, const std::string& after) {
  const auto old = PemBlocks(before, "CERTIFICATE", Bundle::kMaxCertificates);
  const auto now = PemBlocks(after, "CERTIFICATE", Bundle::kMaxCertificates);
  if (!old.ok() || !now.ok() || old->empty()) return false;
  return std::none_of(now->begin(), now->end(), [&](const std::string& one) {
    return std::find(old->begin(), old->end(), one) != old->end();
  });
}

}  // namespace

std::vector<IdentityNotice> WarningsOf(const Identity* before,
                                       const Identity& after) {
  std::vector<IdentityNotice> notices;
  const auto warn = [&](std::string text) {
    notices.push_back({IdentityNotice::Kind::kWarning, std::move(text)});
  };
  for (const std::string& text : after.warnings()) {
    if (before == nullptr ||
        std::find(before->warnings().begin(), before->warnings().end(), text) ==
            before->warnings().end()) {
      warn(text);
    }
  }
  if (before == nullptr) return notices;
  for (const auto& [domain, pem] : before->bytes().bundles) {
    const auto found = after.bytes().bundles.find(domain);
    const std::string none;
    if (KeepsNothing(
            pem, found == after.bytes().bundles.end() ? none : found->second)) {
      warn(absl::StrCat("the bundle \"", domain,
                        "\" has none of the authorities that it had."));
    }
  }
  if (before->trust().has_crls() && !after.trust().has_crls()) {
    warn(
        "the revocation lists are gone. Until there are some again, peers are "
        "refused where crl is not if_present.");
  }
  return notices;
}

std::vector<std::shared_ptr<IdentityListener>> IdentityFeed::Listeners() {
  std::vector<std::shared_ptr<IdentityListener>> alive;
  base::MutexLock lock(&mu_);
  std::vector<std::weak_ptr<IdentityListener>> kept;
  for (const std::weak_ptr<IdentityListener>& listener : listeners_) {
    std::shared_ptr<IdentityListener> one = listener.lock();
    if (one == nullptr) continue;
    alive.push_back(std::move(one));
    kept.push_back(listener);
  }
  listeners_ = std::move(kept);
  return alive;
}

void IdentityFeed::Subscribe(std::weak_ptr<IdentityListener> listener) {
  const std::shared_ptr<IdentityListener> alive = listener.lock();
  if (alive == nullptr) return;
  base::MutexLock order(&order_);
  IdentityPtr last;
  std::vector<IdentityNotice> notices;
  {
    base::MutexLock lock(&mu_);
    listeners_.push_back(std::move(listener));
    last = last_;
    notices = notices_;
  }
  if (last != nullptr) alive->OnIdentity(std::move(last));
  for (const IdentityNotice& notice : notices) alive->OnNotice(notice);
}

void IdentityFeed::Publish(IdentityPtr identity) {
  IdentityPtr old;  // Let go after the locks.
  base::MutexLock order(&order_);
  {
    base::MutexLock lock(&mu_);
    old = std::exchange(last_, identity);
    notices_.clear();
  }
  for (const auto& listener : Listeners()) listener->OnIdentity(identity);
}

void IdentityFeed::Notify(const IdentityNotice& notice) {
  base::MutexLock order(&order_);
  {
    base::MutexLock lock(&mu_);
    const bool refusal = IsRefusal(notice.kind);
    const bool over = notice.kind == IdentityNotice::Kind::kRecovered;
    if (refusal || over) {
      notices_.erase(std::remove_if(notices_.begin(), notices_.end(),
                                    [](const IdentityNotice& one) {
                                      return IsRefusal(one.kind);
                                    }),
                     notices_.end());
    }
    if (!over) notices_.push_back(notice);
    if (notices_.size() > kMostKept) notices_.erase(notices_.begin());
  }
  for (const auto& listener : Listeners()) listener->OnNotice(notice);
}

IdentityPtr IdentityFeed::last() const {
  base::MutexLock lock(&mu_);
  return last_;
}

}  // namespace mesh::security
