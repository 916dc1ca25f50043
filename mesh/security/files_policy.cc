#include "mesh/security/files_policy.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "mesh/security/expiry.h"

namespace mesh::security {
namespace {

using Kind = IdentityNotice::Kind;

}  // namespace

void FilesPolicy::OnChange(size_t file, Change change, const FileStamp& stamp,
                           Moment now) {
  files_[file].stamp = stamp;
  files_[file].whole_at =
      change == Change::kReplaced ? absl::InfinitePast() : now.steady + kStill;
  changed_ = true;
}

void FilesPolicy::OnLook(const std::vector<FileStamp>& stamps, Moment now) {
  last_look_ = now.steady;
  for (size_t i = 0; i < files_.size(); ++i) {
    if (stamps[i] == files_[i].stamp) continue;
    OnChange(i, Change::kWritten, stamps[i], now);
  }
  // What cannot be used is tried again: the wall clock may have been put right,
  // or there were no descriptors.
  if (read_again_ || !trouble_.ok()) retry_ = true;
  read_again_ = false;
}

absl::Time FilesPolicy::AllWholeAt() const {
  absl::Time last = absl::InfinitePast();
  for (const File& file : files_) last = std::max(last, file.whole_at);
  return last;
}

bool FilesPolicy::WantsRead(Moment now) const {
  return (changed_ || retry_ || now.wall >= valid_from_) &&
         now.steady >= AllWholeAt();
}

FilesPolicy::Decision FilesPolicy::OnRead(Contents contents, Moment now) {
  Decision decision;
  for (size_t i = 0; i < files_.size(); ++i) {
    if (files_[i].stamp == FileStamp()) {
      files_[i].stamp = contents.stamps[i];  // The first read.
    } else if (files_[i].stamp != contents.stamps[i]) {
      OnChange(i, Change::kWritten, contents.stamps[i], now);
    }
  }
  if (now.steady < AllWholeAt()) return decision;  // A writer was faster.
  const bool is_new = changed_;
  read_again_ = is_new;
  changed_ = false;
  retry_ = false;
  valid_from_ = absl::InfiniteFuture();

  if (!contents.bytes.ok()) {
    Refuse(Kind::kUnreadable, contents.bytes.status(), is_new, now);
    return decision;
  }
  if (published_ != nullptr && published_->bytes() == *contents.bytes &&
      now.wall < published_->not_after()) {
    Accept(published_, contents.warnings, &decision);
    return decision;
  }
  const absl::StatusOr<IdentityPtr> identity =
      Identity::Make(*contents.bytes, now.wall);
  if (identity.ok()) {
    Accept(*identity, contents.warnings, &decision);
    return decision;
  }
  const bool early = absl::IsFailedPrecondition(identity.status());
  if (early) valid_from_ = Identity::NotBefore(*contents.bytes).value();
  Refuse(early ? Kind::kNotYetValid : Kind::kBad, identity.status(), is_new,
         now);
  return decision;
}

void FilesPolicy::Refuse(Kind kind, absl::Status why, bool is_new, Moment now) {
  // The same files are as bad as before: what is said of them stays.
  if (!trouble_.ok() && !is_new) return;
  // Files that go on changing do not put it off for ever.
  if (trouble_.ok() || speak_at_ == absl::InfiniteFuture()) {
    speak_at_ = now.steady + kPatience;
  }
  trouble_ = std::move(why);
  trouble_kind_ = kind;
}

void FilesPolicy::Accept(IdentityPtr identity,
                         const std::vector<std::string>& warnings,
                         Decision* decision) {
  trouble_ = absl::OkStatus();
  speak_at_ = absl::InfiniteFuture();
  if (spoke_) {
    decision->notices.push_back(
        {Kind::kRecovered,
         absl::StrCat("the files ", names_, " are a whole identity again.")});
  }
  spoke_ = false;
  if (published_ != nullptr && published_->bytes() == identity->bytes()) {
    return;
  }
  for (IdentityNotice& notice : WarningsOf(published_.get(), *identity)) {
    decision->notices.push_back(std::move(notice));
  }
  for (const std::string& text : warnings) {
    // Each renewal would tell it anew.
    if (published_ != nullptr &&
        std::find(warned_.begin(), warned_.end(), text) == warned_.end()) {
      decision->notices.push_back({Kind::kWarning, text});
    }
  }
  warned_ = warnings;
  published_ = identity;
  decision->publish = std::move(identity);
}

FilesPolicy::Decision FilesPolicy::OnTime(Moment now) {
  Decision decision;
  if (now.steady >= speak_at_) {
    speak_at_ = absl::InfiniteFuture();
    spoke_ = true;
    decision.notices.push_back(
        {trouble_kind_,
         absl::StrCat(
             "the files ", names_,
             " are no identity that can be used now: ", trouble_.message(),
             published_ == nullptr
                 ? ""
                 : absl::StrCat(" The last good identity stays; it ends at ",
                                WrittenTime(published_->not_after()), "."))});
  }
  return decision;
}

absl::Time FilesPolicy::Next(Moment now) const {
  absl::Time next = std::min(last_look_ + kLook, speak_at_);
  if (changed_ || retry_) next = std::min(next, AllWholeAt());
  // Dates are by the other clock, which may jump; each look asks again.
  next = std::min(next, now.steady + (valid_from_ - now.wall));
  return std::max(next, now.steady);
}

}  // namespace mesh::security
