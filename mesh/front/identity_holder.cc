#include "mesh/front/identity_holder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mesh/base/foreign_code.h"
#include "mesh/log.h"
#include "mesh/security/expiry.h"
#include "mesh/telemetry/events.h"

namespace mesh::front {
namespace {

using Kind = security::IdentityNotice::Kind;

LogSeverity SeverityOf(Kind kind) {
  switch (kind) {
    case Kind::kExpired:
    case Kind::kTenthLeft:
    case Kind::kBad:
    case Kind::kUnreadable:
    case Kind::kNoAnswer:
      return LogSeverity::kError;
    case Kind::kThirdLeft:
    case Kind::kNotYetValid:
    case Kind::kWarning:
      return LogSeverity::kWarning;
    case Kind::kRecovered:
      return LogSeverity::kInfo;
  }
  return LogSeverity::kWarning;
}

bool IsSame(const security::IdentityBytes& a,
            const security::IdentityBytes& b) {
  return a.chain == b.chain && a.key == b.key && a.bundles == b.bundles &&
         a.crls == b.crls;
}

}  // namespace

std::shared_ptr<IdentityHolder> IdentityHolder::Make(
    std::string name, std::shared_ptr<service::Runtime> runtime,
    std::shared_ptr<Generations> generations,
    std::shared_ptr<security::IdentitySource> source,
    absl::Duration start_timeout, const IdentityHolder* before) {
  std::shared_ptr<IdentityHolder> holder(
      new IdentityHolder(std::move(name), std::move(runtime),
                         std::move(generations), std::move(source)));
  if (before != nullptr) {
    base::MutexLock lock(&holder->mu_);
    holder->state_.identity = before->state().identity;
    holder->state_.generation = holder->generations_->Next();
  }
  // A source of the application may throw.
  base::ForeignCode("identity", [&](const std::string& line) {
    holder->runtime_->Log(LogSeverity::kError, line);
  }).Run([&] { holder->source_->Subscribe(holder); });
  if (holder->state().identity != nullptr) return holder;
  service::Runtime& control = *holder->runtime_;
  control.loop().RunAt(
      control.clock().Now() + start_timeout,
      [weak = std::weak_ptr<IdentityHolder>(holder), start_timeout] {
        if (const auto alive = weak.lock()) alive->GiveUpWaiting(start_timeout);
      });
  return holder;
}

void IdentityHolder::Add(std::weak_ptr<User> user) {
  base::MutexLock lock(&mu_);
  users_.erase(std::remove_if(users_.begin(), users_.end(),
                              [&](const std::weak_ptr<User>& known) {
                                return known.expired() ||
                                       !(known.owner_before(user) ||
                                         user.owner_before(known));
                              }),
               users_.end());
  users_.push_back(std::move(user));
}

IdentityState IdentityHolder::state() const {
  base::MutexLock lock(&mu_);
  return state_;
}

telemetry::IdentitySnapshot IdentityHolder::Metrics() const {
  telemetry::IdentitySnapshot snapshot;
  snapshot.name = name_;
  base::MutexLock lock(&mu_);
  snapshot.error = refusal_;
  snapshot.refused = refused_;
  if (state_.identity == nullptr) return snapshot;
  const security::Identity& identity = *state_.identity;
  snapshot.generation = state_.generation;
  if (identity.spiffe_id().has_value()) {
    snapshot.spiffe_id = identity.spiffe_id()->text();
  }
  snapshot.serial = identity.serial();
  snapshot.not_before = identity.not_before();
  snapshot.not_after = identity.not_after();
  return snapshot;
}

void IdentityHolder::OnIdentity(security::IdentityPtr identity) {
  if (identity == nullptr) return;  // A source of the application has erred.
  std::string line = absl::StrCat("identity ", name_, ": ");
  if (identity->spiffe_id().has_value()) {
    absl::StrAppend(&line, identity->spiffe_id()->text(), ", ");
  }
  if (identity->serial().empty()) {
    absl::StrAppend(&line, "new authorities are in force.");
  } else {
    absl::StrAppend(&line, "serial ", identity->serial(),
                    ", is in force, and valid until ",
                    security::WrittenTime(identity->not_after()), ".");
  }
  security::IdentityPtr before;  // Destroyed after the lock.
  {
    base::MutexLock lock(&mu_);
    if (state_.identity != nullptr &&
        IsSame(identity->bytes(), state_.identity->bytes())) {
      return;  // It came twice.
    }
    state_.generation = generations_->Next();
    if (state_.identity != nullptr && state_.identity->WithdrawnBy(*identity)) {
      state_.withdrawn_before = state_.generation;
      absl::StrAppend(&line,
                      " Trust was withdrawn: connections that it concerns end "
                      "in seconds.");
    }
    state_.missing = absl::OkStatus();
    refusal_.clear();
    before = std::exchange(state_.identity, std::move(identity));
  }
  runtime_->Log(LogSeverity::kInfo, line);
  Tell();
}

void IdentityHolder::OnNotice(const security::IdentityNotice& notice) {
  {
    base::MutexLock lock(&mu_);
    if (security::IsRefusal(notice.kind)) {
      refusal_ = notice.text;
      ++refused_[std::string(security::IdentityNoticeName(notice.kind))];
    } else if (notice.kind == Kind::kRecovered) {
      refusal_.clear();
    }
  }
  runtime_->Log(SeverityOf(notice.kind),
                absl::StrCat("identity ", name_, ": ", notice.text));
  telemetry::IdentityEvent event;
  event.identity = name_;
  event.kind = security::IdentityNoticeName(notice.kind);
  event.text = notice.text;
  for (const auto& observer : runtime_->application().observers()) {
    observer->OnIdentity(event);
  }
}

void IdentityHolder::GiveUpWaiting(absl::Duration waited) {
  {
    base::MutexLock lock(&mu_);
    if (state_.identity != nullptr) return;
    std::string text =
        absl::StrCat("there was no identity within identity.start_timeout (",
                     absl::FormatDuration(waited), ")");
    if (refusal_.empty()) {
      absl::StrAppend(&text, ": the source has said nothing.");
    } else {
      absl::StrAppend(&text, ": ", refusal_);
    }
    state_.missing = absl::UnavailableError(text);
    if (refusal_.empty()) refusal_ = text;
    state_.generation = generations_->Next();
  }
  Tell();
}

void IdentityHolder::Tell() {
  std::vector<std::shared_ptr<User>> users;
  {
    base::MutexLock lock(&mu_);
    for (const std::weak_ptr<User>& weak : users_) {
      if (auto user = weak.lock()) users.push_back(std::move(user));
    }
  }
  for (const auto& user : users) user->OnIdentityChange();
}

}  // namespace mesh::front
