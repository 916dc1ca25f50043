#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/base/clock.h"
#include "mesh/base/mutex.h"
#include "mesh/config/loader.h"
#include "mesh/discovery/dns_test_server.h"
#include "mesh/discovery/resolver.h"
#include "mesh/discovery/resolver_test_util.h"

namespace mesh::discovery {
namespace {

using Strings = std::vector<std::string>;

options::DnsOptions Ask(const std::string& server,
                        const std::string& name = "cart.mesh.test") {
  options::DnsOptions options;
  options.name = name;
  options.port = 80;
  options.min_refresh = absl::Milliseconds(50);
  if (!server.empty()) options.servers = {server};
  return options;
}

// Answers A questions with `addresses` and this TTL.
Strings AnswerA(const DnsQuestion& q, const Strings& addresses, uint32_t ttl) {
  std::vector<DnsRecord> records;
  if (q.type == kTypeA) {
    for (const std::string& address : addresses) {
      records.push_back({kTypeA, ttl, A(address), ""});
    }
  }
  return {q.Answer(records)};
}

TEST(DnsResolverTest, FindsTheAddressesOfBothFamilies) {
  Dnsmasq server(
      "10.0.0.2 cart.mesh.test\n10.0.0.10 cart.mesh.test\n"
      "fd00::1 cart.mesh.test\n");
  Watched resolver(Ask(server.address()));
  EXPECT_EQ(*resolver.Next(),
            Strings({"10.0.0.2:80", "10.0.0.10:80", "[fd00::1]:80"}));
}

TEST(DnsResolverTest, FollowsAliases) {
  Dnsmasq server("10.0.0.1 real.mesh.test\n",
                 {"--cname=cart.mesh.test,other.mesh.test",
                  "--cname=other.mesh.test,real.mesh.test"});
  Watched resolver(Ask(server.address()));
  EXPECT_EQ(*resolver.Next(), Strings({"10.0.0.1:80"}));
}

TEST(DnsResolverTest, TakesAnAnswerThatOnlyTcpCanCarry) {
  std::string hosts;
  for (int i = 0; i < 200; ++i) {
    hosts += "10.0.1." + std::to_string(i) + " cart.mesh.test\n";
  }
  Dnsmasq server(hosts);
  Watched resolver(Ask(server.address()));
  const auto all = resolver.Next();
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(all->size(), 200);
}

TEST(DnsResolverTest, ResolvesAgainWhenTheTtlHasPassed) {
  Dnsmasq server("10.0.0.1 cart.mesh.test\n");
  Watched resolver(Ask(server.address()));
  EXPECT_EQ(*resolver.Next(), Strings({"10.0.0.1:80"}));
  server.SetHosts("10.0.0.1 cart.mesh.test\n10.0.0.2 cart.mesh.test\n");
  EXPECT_EQ(*resolver.Next(), Strings({"10.0.0.1:80", "10.0.0.2:80"}));
  server.SetHosts("10.0.0.2 cart.mesh.test\n");
  EXPECT_EQ(*resolver.Next(), Strings({"10.0.0.2:80"}));
}

TEST(DnsResolverTest, ANameThatVanishesIsAFailureAndItsReturnIsSaid) {
  Dnsmasq server("10.0.0.1 cart.mesh.test\n");
  Watched resolver(Ask(server.address()));
  EXPECT_TRUE(resolver.Next().ok());
  server.SetHosts("10.0.0.1 other.mesh.test\n");
  const auto gone = resolver.Next();
  EXPECT_EQ(gone.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(gone.status().message().find("cart.mesh.test"),
            absl::string_view::npos);
  server.SetHosts("10.0.0.1 cart.mesh.test\n");
  auto back = resolver.Next();
  while (!back.ok()) back = resolver.Next();
  EXPECT_EQ(*back, Strings({"10.0.0.1:80"}));
}

TEST(DnsResolverTest, ANameWithoutAddressesIsAnEmptySetSaidEachTime) {
  Dnsmasq server("", {"--txt-record=cart.mesh.test,nothing here"});
  Watched resolver(Ask(server.address()));
  EXPECT_EQ(*resolver.Next(), Strings());
  EXPECT_EQ(*resolver.Next(), Strings());
}

TEST(DnsResolverTest, WhereACallWantsAnEndpointItAsksWithinASecond) {
  Dnsmasq server("", {"--txt-record=cart.mesh.test,nothing here"});
  Watched resolver(Ask(server.address()));
  // It waits for 1, 2, 4 and 8 s between them, as long as nobody wants it.
  for (int i = 0; i < 3; ++i) EXPECT_EQ(*resolver.Next(), Strings());
  const absl::Time begin = base::Clock::Real().Now();
  for (int i = 0; i < 2; ++i) {
    resolver.AskAgain();
    EXPECT_EQ(*resolver.Next(), Strings());
  }
  EXPECT_LT(base::Clock::Real().Now() - begin, absl::Seconds(3.5));
}

TEST(DnsResolverTest, AServerThatIsDownIsAFailureUntilItIsUp) {
  Dnsmasq server("10.0.0.1 cart.mesh.test\n");
  server.Kill();
  Watched resolver(Ask(server.address()));
  const auto down = resolver.Next();
  EXPECT_EQ(down.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(down.status().message().find(server.address()),
            absl::string_view::npos)
      << down.status();
  server.Start();
  auto up = resolver.Next();
  while (!up.ok()) up = resolver.Next();
  EXPECT_EQ(*up, Strings({"10.0.0.1:80"}));

  // And again, with another answer afterwards.
  server.Kill();
  EXPECT_FALSE(resolver.Next().ok());
  server.SetHosts("10.0.0.2 cart.mesh.test\n");
  server.Start();
  up = resolver.Next();
  while (!up.ok()) up = resolver.Next();
  EXPECT_EQ(*up, Strings({"10.0.0.2:80"}));
}

TEST(DnsResolverTest, TheSecondServerIsAskedWhenTheFirstIsDown) {
  Dnsmasq down("");
  down.Kill();
  Dnsmasq server("10.0.0.1 cart.mesh.test\n");
  options::DnsOptions options = Ask(down.address());
  options.servers.push_back(server.address());
  Watched resolver(options);
  EXPECT_EQ(*resolver.Next(), Strings({"10.0.0.1:80"}));
}

TEST(DnsResolverTest, ARotatedAnswerIsNoChange) {
  std::atomic<int> asked{0};
  FakeDns server([&](const DnsQuestion& q) -> Strings {
    if (q.type != kTypeA) return {q.Answer({})};
    return ++asked % 2 == 0 ? AnswerA(q, {"10.0.0.1", "10.0.0.2"}, 0)
                            : AnswerA(q, {"10.0.0.2", "10.0.0.1"}, 0);
  });
  Watched resolver(Ask(server.address()));
  EXPECT_EQ(*resolver.Next(), Strings({"10.0.0.1:80", "10.0.0.2:80"}));
  EXPECT_TRUE(resolver.Silent(absl::Milliseconds(300)));
  EXPECT_GE(asked, 2);
}

// When A questions came in.
class Times {
 public:
  void Add() {
    base::MutexLock lock(&mu_);
    times_.push_back(base::Clock::Real().Now());
    added_.SignalAll();
  }
  std::vector<absl::Time> WaitFor(size_t n) {
    base::MutexLock lock(&mu_);
    while (times_.size() < n) added_.Wait(&mu_);
    return times_;
  }
  size_t size() {
    base::MutexLock lock(&mu_);
    return times_.size();
  }

 private:
  base::Mutex mu_;
  base::CondVar added_;
  std::vector<absl::Time> times_;
};

TEST(DnsResolverTest, NeverResolvesMoreOftenThanMinRefreshWhateverTheTtl) {
  for (const uint32_t ttl : {0u, 0x80000000u, 0xffffffffu}) {
    Times times;
    FakeDns server([&](const DnsQuestion& q) {
      if (q.type == kTypeA) times.Add();
      return AnswerA(q, {"10.0.0.1"}, ttl);
    });
    Watched resolver(Ask(server.address()));
    for (int i = 0; i < 100; ++i) resolver.Refresh();
    const auto at = times.WaitFor(4);
    for (size_t i = 1; i < at.size(); ++i) {
      // The server's clock reading may be late for one and not for the next.
      EXPECT_GE(at[i] - at[0],
                i * absl::Milliseconds(50) - absl::Milliseconds(20));
    }
  }
}

TEST(DnsResolverTest, ResolvesAtLeastEveryMaxRefresh) {
  Times times;
  FakeDns server([&](const DnsQuestion& q) {
    if (q.type == kTypeA) times.Add();
    return AnswerA(q, {"10.0.0.1"}, 0x7fffffff);
  });
  options::DnsOptions options = Ask(server.address());
  options.max_refresh = absl::Milliseconds(60);
  Watched resolver(options);
  times.WaitFor(3);
}

TEST(DnsResolverTest, RefreshResolvesLongBeforeTheTtlButNotAfterAFailure) {
  Times times;
  std::atomic<bool> fail{false};
  FakeDns server([&](const DnsQuestion& q) -> Strings {
    if (q.type == kTypeA) times.Add();
    if (fail) return {q.Answer({}, 3)};
    return AnswerA(q, {"10.0.0.1"}, 300);
  });
  Watched resolver(Ask(server.address()));
  EXPECT_TRUE(resolver.Next().ok());
  EXPECT_TRUE(resolver.Silent(absl::Milliseconds(200)));
  EXPECT_EQ(times.size(), 1) << "the TTL is five minutes";
  resolver.Refresh();
  times.WaitFor(2);

  fail = true;
  while (resolver.Next(absl::Milliseconds(10)).status().code() !=
         absl::StatusCode::kNotFound) {
    resolver.Refresh();
  }
  const size_t asked = times.size();
  for (int i = 0; i < 20; ++i) {
    resolver.Refresh();
    usleep(5000);
  }
  EXPECT_EQ(times.size(), asked) << "the wait after a failure stays";
}

TEST(DnsResolverTest, WhatIsKnownOfOneFamilyStaysWhileItCannotBeHad) {
  std::atomic<bool> broken{false};
  std::atomic<int> asked{0};
  FakeDns server([&](const DnsQuestion& q) -> Strings {
    if (q.type == kTypeA) {
      return AnswerA(q, {broken ? "10.0.0.2" : "10.0.0.1"}, 0);
    }
    if (broken) return {q.Answer({}, 2)};
    ++asked;
    return {q.Answer({{kTypeAaaa, 0, Aaaa("fd00::1"), ""}})};
  });
  Watched resolver(Ask(server.address()));
  EXPECT_EQ(*resolver.Next(), Strings({"10.0.0.1:80", "[fd00::1]:80"}));
  broken = true;
  auto next = resolver.Next();
  while (next.ok() && next->at(0) == "10.0.0.1:80") next = resolver.Next();
  EXPECT_EQ(*next, Strings({"10.0.0.2:80", "[fd00::1]:80"}));
}

TEST(DnsResolverTest, AnAddressAndLocalhostNeedNoServer) {
  Dnsmasq down("");
  down.Kill();
  Watched v4(Ask(down.address(), "127.0.0.1"));
  EXPECT_EQ(*v4.Next(), Strings({"127.0.0.1:80"}));
  Watched v6(Ask("", "::1"));
  EXPECT_EQ(*v6.Next(), Strings({"[::1]:80"}));
  Watched localhost(Ask("", "localhost"));
  const auto addresses = localhost.Next();
  ASSERT_TRUE(addresses.ok()) << addresses.status();
  EXPECT_EQ(addresses->at(0), "127.0.0.1:80");
}

TEST(DnsResolverTest, PortZeroAndBadNamesAreFailures) {
  options::DnsOptions options = Ask("127.0.0.1:1");
  options.port = 0;
  Watched no_port(options);
  EXPECT_EQ(no_port.Next().status().code(), absl::StatusCode::kInvalidArgument);
  no_port.Refresh();
  Watched long_name(Ask("127.0.0.1:1", std::string(300, 'x')));
  EXPECT_EQ(long_name.Next().status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(DnsResolverTest, MayBeDestroyedWhileItAsks) {
  Times times;
  FakeDns silent([&](const DnsQuestion&) -> Strings {
    times.Add();
    return {};
  });
  for (size_t i = 1; i <= 5; ++i) {
    Watched resolver(Ask(silent.address()));
    times.WaitFor(2 * i);
    resolver.Destroy();
    EXPECT_TRUE(resolver.Silent(absl::ZeroDuration()));
  }
}

TEST(DnsResolverTest, MayBeDestroyedInsideItsReport) {
  FakeDns server(
      [&](const DnsQuestion& q) { return AnswerA(q, {"10.0.0.1"}, 0); });
  for (const char* name : {"cart.mesh.test", "127.0.0.1", "a..b"}) {
    base::EventLoop loop("test");
    std::unique_ptr<Resolver> resolver;
    std::promise<void> destroyed;
    RunOn(loop, [&] {
      resolver = MakeResolver(Ask(server.address(), name), &loop,
                              config::ParseEndpoints);
      resolver->Start([&](auto) {
        resolver.reset();
        destroyed.set_value();
      });
    });
    destroyed.get_future().wait();
  }
}

TEST(DnsResolverTest, TheLoopMayStopWhileItAsks) {
  Times times;
  FakeDns silent([&](const DnsQuestion&) -> Strings {
    times.Add();
    return {};
  });
  base::EventLoop loop("test");
  // Owned by a closure that never runs, and destroyed with it.
  RunOn(loop, [&] {
    std::shared_ptr<Resolver> resolver =
        MakeResolver(Ask(silent.address()), &loop, config::ParseEndpoints);
    resolver->Start([](auto) { ADD_FAILURE(); });
    loop.RunAt(absl::InfiniteFuture(), [resolver] {});
  });
  times.WaitFor(2);
  loop.Stop();
}

TEST(DnsResolverTest, ManyResolversShareALoop) {
  FakeDns server(
      [&](const DnsQuestion& q) { return AnswerA(q, {"10.0.0.1"}, 0); });
  base::EventLoop loop("test");
  std::atomic<int> found{0};
  std::vector<std::unique_ptr<Resolver>> resolvers;
  RunOn(loop, [&] {
    for (int i = 0; i < 50; ++i) {
      resolvers.push_back(MakeResolver(
          Ask(server.address(), "s" + std::to_string(i) + ".mesh.test"), &loop,
          config::ParseEndpoints));
      resolvers.back()->Start([&](auto update) { found += update.ok(); });
    }
  });
  while (found < 50) usleep(1000);
  RunOn(loop, [&] { resolvers.clear(); });
}

}  // namespace
}  // namespace mesh::discovery
