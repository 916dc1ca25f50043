#include "mesh/front/identity_holder.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mesh/base/foreign_code.h"
#include "mesh/telemetry/events.h"

namespace mesh::front {
namespace {

using Kind = security::IdentityNotice::Kind;

// How long nobody looks at the wall clock.
constexpr absl::Duration kLongestRest = absl::Seconds(1);

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

options::CrlMode CrlModeOf(options::CrlMode mode, const IdentityState& state) {
  return mode == options::CrlMode::kDefault && state.had_crls
             ? options::CrlMode::kRequire
             : mode;
}

std::shared_ptr<IdentityHolder> IdentityHolder::Make(
    std::string name, std::shared_ptr<service::Runtime> runtime,
    std::shared_ptr<GenerationCounter> generations,
    std::shared_ptr<security::IdentitySource> source,
    absl::Duration start_timeout, std::shared_ptr<IdentityHolder> before) {
  return std::shared_ptr<IdentityHolder>(new IdentityHolder(
      std::move(name), std::move(runtime), std::move(generations),
      std::move(source), start_timeout, std::move(before)));
}

void IdentityHolder::Replace(IdentityHolder* before) {
  // Users go from `before` to this one. They must not hear of a withdrawal
  // there, and find here what was before it.
  base::MutexLock before_lock(&before->mu_);
  before->replaced_ = true;
  base::MutexLock lock(&mu_);
  state_ = before->state_;
  state_.generation = generations_->Next();
  state_.missing = absl::OkStatus();  // Calls wait anew.
  alarm_ = before->alarm_;
}

void IdentityHolder::Start() {
  std::shared_ptr<IdentityHolder> before;
  {
    base::MutexLock lock(&mu_);
    if (std::exchange(started_, true)) return;
    before = std::move(before_);
  }
  if (before != nullptr) Replace(before.get());
  const IdentityState kept = state();
  const absl::Time now = runtime_->clock().Now();
  if (kept.identity != nullptr) LookAt(now, kept.generation);
  // A source of the application may throw.
  base::ForeignCode("identity", [this](const std::string& line) {
    Log(LogSeverity::kError, line);
  }).Run([this] { source_->Subscribe(shared_from_this()); });
  if (state().identity != nullptr) return;
  runtime_->loop().RunAt(now + start_timeout_, [weak = weak_from_this()] {
    if (const auto alive = weak.lock()) alive->GiveUpWaiting();
  });
}

void IdentityHolder::LookAt(absl::Time at, uint64_t generation) {
  runtime_->loop().RunAt(at, [weak = weak_from_this(), generation] {
    if (const auto alive = weak.lock()) alive->Look(generation);
  });
}

void IdentityHolder::Look(uint64_t generation) {
  const absl::Time wall = runtime_->wall()();
  std::optional<security::IdentityNotice> due;
  absl::Time next;
  {
    base::MutexLock lock(&mu_);
    if (state_.generation != generation) return;  // The newer one has its own.
    due = alarm_.Due(wall);
    next = alarm_.next();
  }
  if (due.has_value()) OnNotice(*due);
  if (next == absl::InfiniteFuture()) return;
  // The wall clock may jump.
  LookAt(runtime_->clock().Now() + std::min(next - wall, kLongestRest),
         generation);
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
  uint64_t generation = 0;
  {
    base::MutexLock lock(&mu_);
    if (replaced_) return;
    own_crls_ = own_crls_ || identity->trust().has_crls();
    if (state_.identity != nullptr && state_.had_crls == own_crls_ &&
        IsSame(identity->bytes(), state_.identity->bytes())) {
      return;  // It came twice.
    }
    generation = generations_->Next();
    state_.generation = generation;
    state_.had_crls = own_crls_;
    if (state_.identity != nullptr && state_.identity->WithdrawnBy(*identity)) {
      state_.withdrawn_before = generation;
      absl::StrAppend(&line,
                      " Trust was withdrawn: connections that it concerns end "
                      "in seconds.");
    }
    state_.missing = absl::OkStatus();
    refusal_.clear();
    alarm_.Set(*identity);
    before = std::exchange(state_.identity, std::move(identity));
  }
  Log(LogSeverity::kInfo, std::move(line));
  LookAt(runtime_->clock().Now(), generation);
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
  Log(SeverityOf(notice.kind),
      absl::StrCat("identity ", name_, ": ", notice.text));
  runtime_->loop().Post([runtime = runtime_, name = name_, notice] {
    telemetry::IdentityEvent event;
    event.identity = name;
    event.kind = security::IdentityNoticeName(notice.kind);
    event.text = notice.text;
    for (const auto& observer : runtime->application().observers()) {
      observer->OnIdentity(event);
    }
  });
}

void IdentityHolder::Log(LogSeverity severity, std::string line) {
  runtime_->loop().Post([runtime = runtime_, severity, line = std::move(line)] {
    runtime->Log(severity, line);
  });
}

void IdentityHolder::GiveUpWaiting() {
  {
    base::MutexLock lock(&mu_);
    if (state_.identity != nullptr) return;
    std::string text =
        absl::StrCat("there was no identity within identity.start_timeout (",
                     absl::FormatDuration(start_timeout_), ")");
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
