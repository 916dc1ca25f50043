#include "mesh/service/connection_plan.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace mesh::service {
namespace {

using Indices = std::vector<size_t>;

const absl::Time kNow = absl::UnixEpoch() + absl::Hours(1);

absl::Time Ago(int milliseconds) {
  return kNow - absl::Milliseconds(milliseconds);
}
absl::Time In(int milliseconds) { return Ago(-milliseconds); }

// --- One endpoint as it may be

EndpointState Idle(uint32_t priority = 0) {
  EndpointState state;
  state.priority = priority;
  return state;
}
EndpointState Ready(uint32_t priority = 0, int used_ago = 0) {
  EndpointState state = Idle(priority);
  state.ready = state.connection = true;
  state.used = Ago(used_ago);
  return state;
}
EndpointState Out(uint32_t priority = 0) {
  EndpointState state = Ready(priority);
  state.out = true;
  return state;
}
// Its first dial began so many milliseconds ago.
EndpointState Dialling(int ago, uint32_t priority = 0) {
  EndpointState state = Idle(priority);
  state.dialling = state.connection = true;
  state.first_dial = state.dialled = Ago(ago);
  return state;
}
// Its dial failed so long ago, and its backoff ends in `wait`.
EndpointState Failed(int ago, int wait, uint32_t priority = 0) {
  EndpointState state = Idle(priority);
  state.failures = 1;
  state.first_dial = state.dialled = Ago(ago);
  state.redial_at = In(wait);
  return state;
}
EndpointState Redialling(int ago, uint32_t priority = 0) {
  EndpointState state = Failed(ago, -1, priority);
  state.dialling = state.connection = true;
  return state;
}
// It failed by the time it took, so gRPC dials it still.
EndpointState Lingering(int wait) {
  EndpointState state = Failed(5000, wait);
  state.connection = state.lingers = true;
  return state;
}
EndpointState Asked(EndpointState state, int ago) {
  state.asked = Ago(ago);
  return state;
}

using States = std::vector<EndpointState>;

States operator*(size_t count, const EndpointState& state) {
  return States(count, state);
}
States operator+(States all, const States& more) {
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

constexpr ConnectionWishes kNothing = {false, false};
constexpr ConnectionWishes kWanted = {true, false};
constexpr ConnectionWishes kAsked = {true, true};

ConnectionPlan Plan(const States& endpoints, int ahead,
                    ConnectionWishes wishes = kNothing) {
  options::ConnectionOptions options;
  options.ahead = ahead;
  return PlanConnections(endpoints, options, wishes, kNow);
}
Indices Dial(const States& endpoints, int ahead,
             ConnectionWishes wishes = kNothing) {
  return Plan(endpoints, ahead, wishes).dial;
}

// --- Within one priority

TEST(ConnectionPlanTest, DialsTheFirstOnesInTheirOrder) {
  EXPECT_EQ(Dial({Idle(), Idle(), Idle()}, 2), (Indices{0, 1}));
  EXPECT_EQ(Dial({Idle(), Idle()}, 32), (Indices{0, 1}));
  EXPECT_EQ(Dial({}, 32), Indices{});
}

TEST(ConnectionPlanTest, CountsWhatIsConnectedOrJustDialled) {
  EXPECT_EQ(Dial({Idle(), Ready(), Dialling(1), Idle()}, 3), (Indices{0}));
  EXPECT_EQ(Dial({Idle(), Ready(), Dialling(1), Idle()}, 2), Indices{});
}

TEST(ConnectionPlanTest, AnotherTakesThePlaceOfOneThatFails) {
  EXPECT_EQ(Dial({Failed(1, 250), Ready(), Idle(), Idle()}, 2), (Indices{2}));
  EXPECT_EQ(Dial({Failed(1, 250), Failed(1, 250)}, 2), Indices{});
}

TEST(ConnectionPlanTest, AnotherTakesThePlaceOfOneThatIsOut) {
  EXPECT_EQ(Dial({Out(), Out(), Idle(), Idle(), Idle()}, 2), (Indices{2, 3}));
}

TEST(ConnectionPlanTest, NoneAheadUnlessOneIsWanted) {
  EXPECT_EQ(Dial({Idle(), Idle()}, 0), Indices{});
  EXPECT_EQ(Dial({Idle(), Idle()}, 0, kWanted), (Indices{0}));
  EXPECT_EQ(Dial({Ready(), Idle()}, 0, kWanted), Indices{});
  EXPECT_EQ(Dial({Failed(1, 250), Idle()}, 0, kWanted), (Indices{1}));
}

TEST(ConnectionPlanTest, ThatOneIsWantedAddsNothingToWhatIsAhead) {
  EXPECT_EQ(Dial({Idle(), Idle(), Idle()}, 2, kWanted), (Indices{0, 1}));
}

// --- A dial that hangs

TEST(ConnectionPlanTest, ADialThatHangsHoldsNoPlace) {
  const ConnectionPlan before = Plan({Dialling(249), Idle()}, 1);
  EXPECT_EQ(before.dial, Indices{});
  EXPECT_EQ(before.next, In(1));
  EXPECT_EQ(Dial({Dialling(250), Idle()}, 1), (Indices{1}));
}

TEST(ConnectionPlanTest, WhileACallWaitsTheNextIsDialledSooner) {
  const ConnectionPlan before = Plan({Dialling(99), Idle()}, 1, kWanted);
  EXPECT_EQ(before.dial, Indices{});
  EXPECT_EQ(before.next, In(1));
  EXPECT_EQ(Dial({Dialling(100), Idle()}, 1, kWanted), (Indices{1}));
  EXPECT_EQ(Dial({Ready(), Dialling(100), Idle()}, 2, kWanted), Indices{})
      << "it need not wait";
}

TEST(ConnectionPlanTest, ThreeHundredThatHangAreGoneThroughInTime) {
  // Three live ones are behind them all.
  States all = 303 * Idle();
  absl::Duration passed;
  int rounds = 0;
  for (; rounds < 20; ++rounds) {
    const Indices dial = Dial(all, 32, kWanted);
    if (dial.empty()) break;
    for (size_t i : dial) all[i] = Dialling(0);
    for (EndpointState& one : all) {
      one.dialled -= kDialHangsForCalls;
      one.first_dial -= kDialHangsForCalls;
    }
    passed += kDialHangsForCalls;
  }
  EXPECT_EQ(rounds, 10);
  EXPECT_EQ(passed, absl::Seconds(1));
}

// --- Backoff

TEST(ConnectionPlanTest, OneThatFailedIsDialledAgainAfterItsBackoff) {
  const ConnectionPlan before = Plan({Failed(249, 1)}, 1);
  EXPECT_EQ(before.dial, Indices{});
  EXPECT_EQ(before.next, In(1));
  EXPECT_EQ(Dial({Failed(250, 0)}, 1), (Indices{0}));
}

TEST(ConnectionPlanTest, OneThatFailedIsNotDialledWhereNoPlaceIsFree) {
  EXPECT_EQ(Dial({Failed(250, 0), Ready()}, 1), Indices{});
  EXPECT_EQ(Plan({Failed(250, 0), Ready()}, 1).next, absl::InfiniteFuture());
  EXPECT_EQ(Dial({Failed(250, 0), Ready()}, 2), (Indices{0}));
}

TEST(ConnectionPlanTest, ARedialHoldsUpNoOther) {
  EXPECT_EQ(Dial({Redialling(10), Idle()}, 1), (Indices{1}));
}

TEST(ConnectionPlanTest, TheOneThatWasDialledLeastRecentlyComesFirst) {
  EXPECT_EQ(Dial({Failed(300, 0), Failed(900, 0), Failed(500, 0)}, 2),
            (Indices{1, 2}));
}

TEST(ConnectionPlanTest, DeadEndpointsCostNoMoreThanThePlaces) {
  EXPECT_EQ(Dial(1000 * Failed(300, 0), 32).size(), 32);
  EXPECT_EQ(Dial(30 * Failed(1, 250) + 970 * Failed(300, 0), 32).size(), 2)
      << "places are held until a backoff is over";
  EXPECT_EQ(Dial(30 * Redialling(1) + 970 * Failed(300, 0), 32).size(), 2);
  EXPECT_EQ(Dial(30 * Ready() + 970 * Failed(300, 0), 32).size(), 2);
  EXPECT_EQ(Dial(300 * Dialling(300) + 700 * Failed(300, 0), 32).size(), 0)
      << "what hangs holds such a place, too";
}

TEST(ConnectionPlanTest, AllThatAreDeadHaveTheirTurn) {
  States all = 100 * Failed(300, 0);
  std::vector<int> dials(all.size());
  for (int i = 0; i < 100; ++i) {
    for (size_t k : Dial(all, 4)) {
      ++dials[k];
      all[k] = Failed(0, 100);
    }
    for (EndpointState& one : all) {
      one.dialled -= absl::Milliseconds(100);
      one.redial_at -= absl::Milliseconds(100);
    }
  }
  EXPECT_EQ(dials, std::vector<int>(100, 4));
}

TEST(ConnectionPlanTest, WhatLingersKeepsItsChannelWhileAPlaceIsFree) {
  EXPECT_EQ(Plan({Lingering(0)}, 1).dial, (Indices{0}));
  EXPECT_EQ(Plan({Lingering(0)}, 1).drop, Indices{});
  EXPECT_EQ(Plan({Lingering(1), Ready()}, 1).drop, Indices{});
  EXPECT_EQ(Plan({Lingering(0), Ready()}, 1).drop, (Indices{0}));
}

// --- Priorities

TEST(ConnectionPlanTest, ALaterPriorityIsNotDialledAtFirst) {
  const ConnectionPlan plan = Plan({Idle(0), Idle(1), Idle(1)}, 32);
  EXPECT_EQ(plan.dial, (Indices{0}));
  EXPECT_EQ(plan.next, In(250));
}

TEST(ConnectionPlanTest, TheNextOneIsDialledAfterAWhile) {
  const ConnectionPlan before = Plan({Dialling(249), Idle(1)}, 1);
  EXPECT_EQ(before.dial, Indices{});
  EXPECT_EQ(before.next, In(1));
  EXPECT_EQ(Dial({Dialling(250), Idle(1), Idle(1)}, 1), (Indices{1}));
  EXPECT_EQ(Dial({Dialling(250), Idle(1), Idle(1), Idle(1)}, 4),
            (Indices{1, 2}))
      << "the reserve, as long as the first dials may yet do";
  EXPECT_EQ(Dial({Dialling(1000), Idle(1), Idle(1), Idle(1)}, 4),
            (Indices{1, 2, 3}));
}

TEST(ConnectionPlanTest, TheNextOneIsDialledAtOnceWhenAllDialsHaveFailed) {
  EXPECT_EQ(Dial({Failed(1, 249), Idle(1)}, 1), (Indices{1}));
  EXPECT_EQ(Dial({Failed(1, 249), Dialling(1), Idle(1)}, 2), Indices{});
  EXPECT_EQ(Dial({Failed(1, 249), Idle(0), Idle(1)}, 1), (Indices{1}))
      << "another of its own first";
}

TEST(ConnectionPlanTest, TheThirdOneFollowsTheSecond) {
  EXPECT_EQ(Dial({Failed(1, 249), Failed(1, 249, 1), Idle(2)}, 1),
            (Indices{2}));
  const ConnectionPlan plan =
      Plan({Failed(1, 249), Dialling(10, 1), Idle(2)}, 1);
  EXPECT_EQ(plan.dial, Indices{});
  EXPECT_EQ(plan.next, In(240));
}

TEST(ConnectionPlanTest, TheNextOneHasAReserve) {
  const States backups = 3 * Idle(1);
  EXPECT_EQ(Dial(States{Ready()} + backups, 32), (Indices{1, 2}));
  EXPECT_EQ(Dial(States{Ready()} + backups, 1), (Indices{1}));
  EXPECT_EQ(Dial(States{Ready()} + backups, 0), Indices{});
  EXPECT_EQ(Dial(States{Ready()} + backups + 2 * Idle(2), 32), (Indices{1, 2}))
      << "the one behind it has none";
}

TEST(ConnectionPlanTest, APriorityThatCarriesLoadGetsAllItsConnections) {
  // Seven of ten carry 98% of the load, eight carry all of it.
  const States backups = 10 * Idle(1);
  EXPECT_EQ(Dial(7 * Ready() + 3 * Failed(1, 250) + backups, 32).size(), 10);
  EXPECT_EQ(Dial(8 * Ready() + 2 * Failed(1, 250) + backups, 32).size(), 2);
  EXPECT_EQ(Dial(7 * Ready() + 3 * Out() + backups, 32).size(), 10);
  // What is wanted is no more than `ahead`.
  EXPECT_EQ(Dial(3 * Ready() + 7 * Failed(1, 250) + backups, 4).size(), 2);
  EXPECT_EQ(Dial(2 * Ready() + 8 * Failed(1, 250) + backups, 4).size(), 4);
}

TEST(ConnectionPlanTest, WithNothingAheadALaterPriorityIsForWhoWaits) {
  EXPECT_EQ(Dial({Dialling(249), Idle(1)}, 0, kWanted), Indices{});
  EXPECT_EQ(Dial({Dialling(250), Idle(1)}, 0, kWanted), (Indices{1}));
  EXPECT_EQ(Dial({Dialling(250), Idle(1)}, 0), Indices{});
  EXPECT_EQ(Dial({Failed(1, 250), Idle(1)}, 0, kWanted), (Indices{1}));
}

// --- What is not wanted any more

TEST(ConnectionPlanTest, SurplusIsLeftWhenItHasHadNoCall) {
  const int last = 30'000;
  EXPECT_EQ(Plan(6 * Ready(0, last), 4).leave, (Indices{5, 4}));
  EXPECT_EQ(Plan(4 * Ready(0, last), 4).leave, Indices{});
  const ConnectionPlan plan = Plan(5 * Ready(0, last - 5), 4);
  EXPECT_EQ(plan.leave, Indices{});
  EXPECT_EQ(plan.next, In(5));
  States busy = 5 * Ready(0, last);
  for (EndpointState& endpoint : busy) endpoint.busy = true;
  EXPECT_EQ(Plan(busy, 4).leave, Indices{});
}

TEST(ConnectionPlanTest, AfterAFailoverTheReserveIsKept) {
  EXPECT_EQ(Plan(4 * Ready() + 4 * Ready(1, 30'000), 4).leave, (Indices{7, 6}));
}

TEST(ConnectionPlanTest, WithNothingAheadTheOneInUseIsKept) {
  EXPECT_EQ(Plan({Ready(0, 90'000)}, 0).leave, Indices{});
  EXPECT_EQ(Plan({Ready(0, 90'000), Ready(1, 90'000)}, 0).leave, (Indices{1}));
}

TEST(ConnectionPlanTest, AChannelWithoutUseIsGivenBack) {
  EndpointState lost = Idle();
  lost.connection = true;
  lost.used = Ago(59'999);
  EXPECT_EQ(Plan({lost}, 0).drop, Indices{});
  EXPECT_EQ(Plan({lost}, 0).next, In(1));
  lost.used = Ago(60'000);
  EXPECT_EQ(Plan({lost}, 0).drop, (Indices{0}));
  EXPECT_EQ(Plan({lost}, 0, kWanted).drop, Indices{}) << "it is dialled";
  lost.busy = true;
  EXPECT_EQ(Plan({lost}, 0).drop, Indices{});
}

// --- Dials that calls ask for

TEST(ConnectionPlanTest, ACallThatAsksHasOneDialledWhoseBackoffIsNotOver) {
  const ConnectionPlan plan = Plan({Failed(1, 249)}, 1, kAsked);
  EXPECT_EQ(plan.ask, (Indices{0}));
  EXPECT_FALSE(plan.in_vain);
  EXPECT_EQ(Plan({Failed(1, 249)}, 1, kWanted).ask, Indices{});
}

TEST(ConnectionPlanTest, OnePerSecondForAnEndpoint) {
  const ConnectionPlan soon = Plan({Asked(Failed(999, 2000), 999)}, 1, kAsked);
  EXPECT_EQ(soon.ask, Indices{});
  EXPECT_TRUE(soon.in_vain);
  EXPECT_EQ(Plan({Asked(Failed(1000, 2000), 1000)}, 1, kAsked).ask,
            (Indices{0}));
}

TEST(ConnectionPlanTest, TenPerSecondForAService) {
  const States nine = 9 * Asked(Failed(1, 900), 500);
  EXPECT_EQ(Plan(nine + States{Failed(1, 900)}, 32, kAsked).ask, (Indices{9}));
  const ConnectionPlan plan =
      Plan(nine + States{Asked(Failed(1, 900), 1), Failed(1, 900)}, 32, kAsked);
  EXPECT_EQ(plan.ask, Indices{});
  EXPECT_TRUE(plan.in_vain);
}

TEST(ConnectionPlanTest, BetterPrioritiesAreAskedFirst) {
  EXPECT_EQ(Plan({Asked(Failed(1, 900), 1), Failed(5, 900), Failed(9, 900),
                  Failed(90, 900, 1)},
                 1, kAsked)
                .ask,
            (Indices{2}));
}

TEST(ConnectionPlanTest, OneAfterTheOther) {
  const ConnectionPlan plan =
      Plan({Asked(Redialling(99), 99), Failed(200, 900)}, 1, kAsked);
  EXPECT_EQ(plan.ask, Indices{});
  EXPECT_FALSE(plan.in_vain) << "one is under way";
  EXPECT_EQ(plan.next, In(1));
  EXPECT_EQ(
      Plan({Asked(Redialling(100), 100), Failed(200, 900)}, 1, kAsked).ask,
      (Indices{1}));
}

TEST(ConnectionPlanTest, ADialWhoseTimeHasComeServesWhoAsks) {
  const ConnectionPlan plan =
      Plan({Failed(300, 0), Failed(200, 900)}, 2, kAsked);
  EXPECT_EQ(plan.dial, (Indices{0}));
  EXPECT_EQ(plan.ask, Indices{});
  EXPECT_FALSE(plan.in_vain);
}

TEST(ConnectionPlanTest, WhileOneIsConnectedNobodyNeedsToAsk) {
  const ConnectionPlan plan = Plan({Failed(1, 249), Ready()}, 1, kAsked);
  EXPECT_EQ(plan.ask, Indices{});
  EXPECT_FALSE(plan.in_vain);
}

TEST(ConnectionPlanTest, WithoutEndpointsItIsInVain) {
  EXPECT_TRUE(Plan({}, 1, kAsked).in_vain);
}

// --- Second connections

EndpointState Silent(bool made = false, bool dialling = false) {
  EndpointState state = Out();
  state.silent = true;
  state.second.made = made;
  state.second.dialling = dialling;
  return state;
}

TEST(ConnectionPlanTest, ASilentOneHasASecondConnectionDialled) {
  EXPECT_EQ(Plan({Silent()}, 1).second, (Indices{0}));
  EXPECT_EQ(Plan({Silent(true, true)}, 1).second, Indices{});
  EXPECT_EQ(Plan({Silent(true, true)}, 1).single, Indices{});
  EXPECT_EQ(Plan({Out(), Ready()}, 1).second, Indices{}) << "it is ejected";
}

TEST(ConnectionPlanTest, IdleOnesAreDialledInPlaceOfSilentOnes) {
  const ConnectionPlan plan = Plan({Silent(), Silent(), Idle(), Idle()}, 2);
  EXPECT_EQ(plan.second, (Indices{0, 1}));
  EXPECT_EQ(plan.dial, (Indices{2, 3}));
}

TEST(ConnectionPlanTest, ASecondDialIsRepeatedAfterItsBackoff) {
  EndpointState silent = Silent(true);
  silent.second.redial_at = In(1);
  EXPECT_EQ(Plan({silent}, 1).second, Indices{});
  EXPECT_EQ(Plan({silent}, 1).next, In(1));
  silent.second.redial_at = kNow;
  EXPECT_EQ(Plan({silent}, 1).second, (Indices{0}));
}

TEST(ConnectionPlanTest, SecondDialsAreBoundedAsThoseThatCallsAskFor) {
  EXPECT_EQ(Plan({Asked(Silent(), 999)}, 1).second, Indices{});
  EXPECT_EQ(Plan({Asked(Silent(), 999)}, 1).next, In(1));
  EXPECT_EQ(Plan({Asked(Silent(), 1000)}, 1).second, (Indices{0}));
  EXPECT_EQ(Plan(32 * Silent(), 32).second.size(), 10);
}

TEST(ConnectionPlanTest, ASecondOneIsGivenUpWhenTheFirstAnswers) {
  EndpointState answers = Ready();
  answers.second.made = true;
  EXPECT_EQ(Plan({answers}, 1).single, (Indices{0}));
}

TEST(ConnectionPlanTest, AnOutdatedOneIsUsedWhileItsSecondIsDialled) {
  EndpointState outdated = Ready();
  outdated.outdated = true;
  const ConnectionPlan plan = Plan(32 * outdated, 32);
  EXPECT_EQ(plan.second.size(), 32) << "all of them at once";
  EXPECT_EQ(plan.dial, Indices{});
}

// --- Generations of secrets

constexpr Generations kThird = {3, 2, absl::Seconds(30)};

ConnectionTerm Term(uint64_t generation, ConnectionTerm before = {},
                    absl::Time now = kNow) {
  base::Random random(7);
  return PlanTerm(before, generation, kThird, &random, now);
}

TEST(ConnectionTermTest, OneOfTheNewestGenerationIsNotReplaced) {
  EXPECT_EQ(Term(3).renew_at, absl::InfiniteFuture());
  EXPECT_FALSE(Term(3).urgent());
}

TEST(ConnectionTermTest, OneOfAnEarlierGenerationKeepsTheMomentItWasGiven) {
  const ConnectionTerm term = Term(2);
  EXPECT_GE(term.renew_at, kNow);
  EXPECT_LT(term.renew_at, kNow + absl::Seconds(30));
  EXPECT_FALSE(term.urgent());
  EXPECT_EQ(Term(2, term, kNow + absl::Seconds(10)).renew_at, term.renew_at);
}

TEST(ConnectionTermTest, MomentsAreSpread) {
  base::Random random(1);
  int early = 0;
  for (int i = 0; i < 1000; ++i) {
    const ConnectionTerm term = PlanTerm({}, 2, kThird, &random, kNow);
    if (term.renew_at < kNow + absl::Seconds(15)) ++early;
  }
  EXPECT_GT(early, 430);
  EXPECT_LT(early, 570);
}

TEST(ConnectionTermTest, AWithdrawnOneIsGoneInTimeWhateverItsMoment) {
  ConnectionTerm before;
  before.renew_at = kNow + absl::Seconds(20);
  const ConnectionTerm term = Term(1, before);
  EXPECT_GE(term.renew_at, kNow);
  EXPECT_LT(term.renew_at, kNow + absl::Seconds(1));
  EXPECT_EQ(term.gone_by, kNow + absl::Milliseconds(4500));
  EXPECT_FALSE(term.over(kNow + absl::Milliseconds(4499)));
  EXPECT_TRUE(term.over(kNow + absl::Milliseconds(4500)));
  EXPECT_EQ(Term(1, term, kNow + absl::Seconds(3)).gone_by, term.gone_by)
      << "its time does not begin anew";
  before.renew_at = kNow - absl::Seconds(1);
  EXPECT_EQ(Term(1, before).renew_at, before.renew_at) << "it is due already";
}

TEST(ConnectionTermTest, OneWhosePeerExpiresIsWithdrawnThen) {
  ConnectionTerm before;
  before.expires_at = kNow + absl::Milliseconds(1);
  EXPECT_FALSE(Term(3, before).urgent());
  before.expires_at = kNow;
  EXPECT_EQ(Term(3, before).gone_by, kNow + kUrgentLasts);
}

// Its moment was so many milliseconds ago.
EndpointState Due(int ago) {
  EndpointState state = Ready();
  state.term.renew_at = Ago(ago);
  return state;
}
EndpointState Urgent(int ago) {
  EndpointState state = Due(ago);
  state.term.gone_by = In(4000);
  return state;
}
constexpr ConnectionWishes kPlace = {false, false, true, true};

TEST(ConnectionPlanTest, ARenewalNeedsAPlaceAndTheFirstOneHasIt) {
  const ConnectionPlan none = Plan({Due(1), Due(3), Due(2)}, 3);
  EXPECT_EQ(none.renew, Indices{});
  EXPECT_TRUE(none.wants_place);
  const ConnectionPlan one = Plan({Due(1), Due(3), Due(2)}, 3, kPlace);
  EXPECT_EQ(one.renew, (Indices{1}));
  EXPECT_TRUE(one.wants_place);
  EXPECT_EQ(one.second, Indices{});
  EXPECT_FALSE(Plan({Due(1)}, 3, kPlace).wants_place);
}

TEST(ConnectionPlanTest, ARenewalIsPlannedForItsMoment) {
  const ConnectionPlan plan = Plan({Due(-250)}, 1, kPlace);
  EXPECT_EQ(plan.renew, Indices{});
  EXPECT_FALSE(plan.wants_place);
  EXPECT_EQ(plan.next, In(250));
}

TEST(ConnectionPlanTest, AnUrgentRenewalNeedsNoPlace) {
  const ConnectionPlan plan = Plan({Urgent(0), Due(1), Urgent(-7)}, 3);
  EXPECT_EQ(plan.renew, (Indices{0}));
  EXPECT_TRUE(plan.wants_place) << "for the other one";
  EXPECT_EQ(plan.next, In(7));
}

TEST(ConnectionPlanTest, ARenewalUnderWayIsLeftAlone) {
  EndpointState due = Due(1);
  due.second.made = due.second.dialling = true;
  const ConnectionPlan plan = Plan({due}, 1, kPlace);
  EXPECT_EQ(plan.renew, Indices{});
  EXPECT_EQ(plan.single, Indices{});
  EXPECT_FALSE(plan.wants_place);
}

TEST(ConnectionPlanTest, ARenewalThatFailedWaitsForItsBackoff) {
  for (EndpointState state : {Due(1), Urgent(1)}) {
    state.second.made = true;
    state.second.redial_at = In(1);
    EXPECT_EQ(Plan({state}, 1, kPlace).renew, Indices{});
    EXPECT_EQ(Plan({state}, 1, kPlace).single, Indices{});
    EXPECT_EQ(Plan({state}, 1, kPlace).next, In(1));
    state.second.redial_at = kNow;
    EXPECT_EQ(Plan({state}, 1, kPlace).renew, (Indices{0}));
  }
}

TEST(ConnectionPlanTest, ARenewalWaitsWhileTwoConnectionsDrain) {
  for (EndpointState state : {Due(1), Urgent(1)}) {
    state.draining = 1;
    EXPECT_EQ(Plan({state}, 1, kPlace).renew, (Indices{0}));
    state.draining = 2;
    const ConnectionPlan plan = Plan({state}, 1, kPlace);
    EXPECT_EQ(plan.renew.empty(), !state.term.urgent());
    EXPECT_FALSE(plan.wants_place);
    if (!state.term.urgent()) {
      EXPECT_EQ(plan.next, In(250));
    }
  }
}

TEST(ConnectionPlanTest, OneThatIsLostIsNotRenewedButDialled) {
  EndpointState lost = Idle();
  lost.term.renew_at = Ago(1);
  lost.second.made = true;
  const ConnectionPlan plan = Plan({lost}, 1, kPlace);
  EXPECT_EQ(plan.dial, (Indices{0}));
  EXPECT_EQ(plan.single, (Indices{0}));
  EXPECT_EQ(plan.renew, Indices{});
}

TEST(ConnectionPlanTest, OneThatLeavesIsNotRenewed) {
  EndpointState surplus = Due(1);
  surplus.used = Ago(30'000);
  const ConnectionPlan plan = Plan({Ready(), surplus}, 1, kPlace);
  EXPECT_EQ(plan.leave, (Indices{1}));
  EXPECT_EQ(plan.renew, Indices{});
}

TEST(ConnectionPlanTest, ASilentOneNeedsNoPlace) {
  EndpointState silent = Silent();
  silent.term.renew_at = Ago(1);
  const ConnectionPlan plan = Plan({silent}, 1);
  EXPECT_EQ(plan.second, (Indices{0}));
  EXPECT_FALSE(plan.wants_place);
}

TEST(ConnectionPlanTest, ItLooksAtATermWhenThatEnds) {
  EndpointState state = Ready();
  state.term.expires_at = In(5000);
  EXPECT_EQ(Plan({state}, 1).next, In(5000));
  state.term.gone_by = In(3000);
  EXPECT_EQ(Plan({state}, 1).next, In(3000));
}

TEST(ConnectionPlanTest, WithoutAnIdentityNothingIsDialled) {
  EndpointState outdated = Ready();
  outdated.outdated = true;
  for (const bool asked : {false, true}) {
    const ConnectionWishes wishes = {true, asked, false, true};
    const ConnectionPlan plan =
        Plan({Idle(), Failed(500, -1), Failed(1, 249)}, 3, wishes);
    EXPECT_EQ(plan.dial, Indices{});
    EXPECT_EQ(plan.ask, Indices{});
    EXPECT_EQ(plan.in_vain, asked);
    const ConnectionPlan connected =
        Plan({Silent(), outdated, Due(1), Urgent(1)}, 4, wishes);
    EXPECT_EQ(connected.second, Indices{});
    EXPECT_EQ(connected.renew, Indices{});
    EXPECT_EQ(connected.single, Indices{});
    EXPECT_FALSE(connected.wants_place);
  }
}

// --- Retirement

TEST(RetirementPlanTest, ClosesWhatIsDrained) {
  const std::vector<RetiredState> retired = {
      {false, kNow + absl::Seconds(1)},
      {true, kNow + absl::Seconds(1)},
      {true, kNow - absl::Seconds(1)},
  };
  const RetirementPlan plan = PlanRetirement(retired, kNow);
  EXPECT_EQ(plan.close, (Indices{1, 2}));
  EXPECT_TRUE(plan.cut_off.empty());
}

TEST(RetirementPlanTest, CutsOffWhatHasHadItsTime) {
  const std::vector<RetiredState> retired = {
      {false, kNow},
      {false, kNow + absl::Nanoseconds(1)},
      {false, absl::InfiniteFuture()},
  };
  const RetirementPlan plan = PlanRetirement(retired, kNow);
  EXPECT_EQ(plan.cut_off, (Indices{0}));
  EXPECT_TRUE(plan.close.empty());
}

TEST(ConnectionPlanTest, ABlindDialThatHangsMayBeAskedForAnew) {
  EndpointState blind = Redialling(99);
  blind.blind = true;
  const options::ConnectionOptions options;
  const ConnectionWishes asks = {/*wanted=*/true, /*asked=*/true};
  EXPECT_TRUE(PlanConnections({blind}, options, asks, kNow).ask.empty());
  blind.dialled = Ago(100);
  EXPECT_EQ(PlanConnections({blind}, options, asks, kNow).ask, Indices({0}));
  blind.asked = Ago(999);
  const ConnectionPlan soon = PlanConnections({blind}, options, asks, kNow);
  EXPECT_TRUE(soon.ask.empty());
  EXPECT_FALSE(soon.in_vain) << "it may be connected yet";
}

TEST(ConnectionPlanTest, WhoAsksInVainIsToldUntilWhen) {
  EndpointState failed = Failed(500, 10000);
  failed.asked = Ago(400);
  EndpointState other = Failed(300, 10000);
  other.asked = Ago(300);
  const options::ConnectionOptions options;
  const ConnectionPlan plan =
      PlanConnections({failed, other}, options, {true, true}, kNow);
  EXPECT_TRUE(plan.in_vain);
  EXPECT_EQ(plan.ask_again, In(600));
}

TEST(RetirementPlanTest, EndsAllThatRunsOnAWithdrawnOne) {
  const std::vector<RetiredState> retired = {
      {false, absl::InfiniteFuture(), kNow},
      {false, kNow, kNow + absl::Seconds(1)},
      {false, kNow, kNow},
      {true, kNow, kNow},
  };
  const RetirementPlan plan = PlanRetirement(retired, kNow);
  EXPECT_EQ(plan.sever, (Indices{0, 2}));
  EXPECT_EQ(plan.cut_off, (Indices{1}));
  EXPECT_EQ(plan.close, (Indices{3}));
}

}  // namespace
}  // namespace mesh::service
