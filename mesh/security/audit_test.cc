#include "mesh/security/audit.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mesh/base/random.h"

namespace mesh::security {
namespace {

Decision Denied(int rule, bool observed = false) {
  return {observed, observed, RuleList::kDeny, rule, Reason::kDenied};
}
Decision Refused(Reason reason, bool observed = false) {
  return {observed, observed, RuleList::kNone, -1, reason};
}

std::shared_ptr<const Authorization> TwoDenies() {
  options::ServerOptions options;
  options.deny = {{{"spiffe://prod/a"}, {}, {}}, {{"spiffe://prod/b"}, {}, {}}};
  return *Authorization::Make(options);
}

TEST(CauseTest, NamesTheRuleOrWhatElseItWas) {
  EXPECT_EQ(CauseOf(Denied(3)), "deny[3]");
  EXPECT_EQ(CauseOf(Denied(3, /*observed=*/true)), "deny[3]");
  EXPECT_EQ(CauseOf({true, false, RuleList::kAllow, 0, Reason::kAllowed}),
            "allow[0]");
  EXPECT_EQ(CauseOf(Refused(Reason::kNotAllowed)), "allow");
  EXPECT_EQ(CauseOf(Refused(Reason::kBadPath)), "path");
  EXPECT_EQ(CauseOf(Refused(Reason::kBadHeader)), "header");
  EXPECT_EQ(CauseOf(Refused(Reason::kPlaintext)), "plaintext");
  EXPECT_EQ(CauseOf({}), "");
}

TEST(RefusalCountsTest, CountsByRuleAndByReason) {
  RefusalCounts counts(*TwoDenies());
  counts.Add(Denied(1));
  counts.Add(Denied(1));
  counts.Add(Denied(0, /*observed=*/true));
  counts.Add(Refused(Reason::kNotAllowed));
  counts.Add(Refused(Reason::kNotAllowed, /*observed=*/true));
  counts.Add(Refused(Reason::kBadPath));
  counts.Add(Refused(Reason::kBadHeader, /*observed=*/true));
  counts.Add(Refused(Reason::kPlaintext));
  using Count = RefusalCounts::Count;
  EXPECT_EQ(counts.deny_rules(), 2u);
  EXPECT_EQ(counts.OfDeny(0), (Count{0, 1}));
  EXPECT_EQ(counts.OfDeny(1), (Count{2, 0}));
  EXPECT_EQ(counts.OfDeny(2), (Count{0, 0}));
  EXPECT_EQ(counts.Of(Reason::kDenied), (Count{2, 1}));
  EXPECT_EQ(counts.Of(Reason::kNotAllowed), (Count{1, 1}));
  EXPECT_EQ(counts.Of(Reason::kBadPath), (Count{1, 0}));
  EXPECT_EQ(counts.Of(Reason::kBadHeader), (Count{0, 1}));
  EXPECT_EQ(counts.Of(Reason::kPlaintext), (Count{1, 0}));
}

TEST(RefusalCountsTest, CountsNoCallThatIsAdmittedAnyway) {
  RefusalCounts counts(*TwoDenies());
  counts.Add({});
  counts.Add({true, false, RuleList::kNone, -1, Reason::kNoAllow});
  counts.Add({true, false, RuleList::kAllow, 0, Reason::kAllowed});
  for (const Reason reason :
       {Reason::kNoRules, Reason::kNoAllow, Reason::kAllowed, Reason::kDenied,
        Reason::kNotAllowed, Reason::kBadPath, Reason::kBadHeader,
        Reason::kPlaintext}) {
    EXPECT_EQ(counts.Of(reason), RefusalCounts::Count());
  }
}

TEST(RefusalCountsTest, IsExactWithManyThreads) {
  RefusalCounts counts(*TwoDenies());
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&counts, i] {
      for (int j = 0; j < 10000; ++j) counts.Add(Denied(j % 2, i % 2 == 1));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counts.OfDeny(0), (RefusalCounts::Count{10000, 10000}));
  EXPECT_EQ(counts.OfDeny(1), (RefusalCounts::Count{10000, 10000}));
}

TEST(AuditLimitTest, LetsTenThroughAndTellsOfTheRest) {
  AuditLimit limit;
  absl::Time now = absl::UnixEpoch();
  uint64_t left_out = 99;
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(limit.Admit(now, &left_out));
    EXPECT_EQ(left_out, 0u);
  }
  for (int i = 0; i < 7; ++i) EXPECT_FALSE(limit.Admit(now, &left_out));
  now += absl::Seconds(1) - absl::Nanoseconds(1);
  EXPECT_FALSE(limit.Admit(now, &left_out));
  now += absl::Nanoseconds(1);
  EXPECT_TRUE(limit.Admit(now, &left_out));
  EXPECT_EQ(left_out, 8u);
  EXPECT_TRUE(limit.Admit(now, &left_out));
  EXPECT_EQ(left_out, 0u);
}

TEST(AuditLimitTest, NoSecondHasMoreThanTen) {
  base::Random random(1);
  AuditLimit limit;
  absl::Time now = absl::UnixEpoch();
  std::deque<absl::Time> made;
  uint64_t left_out = 0, told = 0, refused = 0;
  int most = 0;
  for (int i = 0; i < 100000; ++i) {
    now += absl::Microseconds(random.Below(i % 2000 < 1000 ? 1000 : 400000));
    while (!made.empty() && now - made.front() >= absl::Seconds(1)) {
      made.pop_front();
    }
    if (limit.Admit(now, &left_out)) {
      told += left_out;
      made.push_back(now);
    } else {
      ++refused;
      ASSERT_EQ(made.size(), 10u) << "one that was left out without need";
    }
    most = std::max(most, static_cast<int>(made.size()));
  }
  EXPECT_EQ(most, 10);
  EXPECT_GT(refused, 1000u);
  if (limit.Admit(now + absl::Seconds(2), &left_out)) told += left_out;
  EXPECT_EQ(told, refused);
}

TEST(AuditLimitTest, HoldsWithManyThreads) {
  AuditLimit limit;
  std::atomic<int> made{0};
  std::atomic<uint64_t> told{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 5000; ++j) {
        uint64_t left_out = 0;
        if (!limit.Admit(absl::UnixEpoch(), &left_out)) continue;
        ++made;
        told += left_out;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(made, 10);
  uint64_t left_out = 0;
  EXPECT_TRUE(limit.Admit(absl::UnixEpoch() + absl::Seconds(1), &left_out));
  EXPECT_EQ(told + left_out, 19990u);
}

}  // namespace
}  // namespace mesh::security
