// Connections that have to leave: what their peers see, in which time, and that
// those who listen to it lose no call.

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/server/listen.h"
#include "tests/listen/door_test_util.h"

namespace mesh::test {
namespace {

using server::Wires;

constexpr Wires kStrict = {true, false};
constexpr Wires kBoth = {true, true};
constexpr char kId[] = "spiffe://prod/cart";
constexpr char kOtherId[] = "spiffe://prod/shop";
constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const std::string kEmptySettings("\0\0\0\4\0\0\0\0\0", 9);

class LeaveTest : public ::testing::Test {
 protected:
  LeaveTest() {
    believer_.Believe(client_.chain, kId);
    believer_.Believe(other_.chain, kOtherId);
  }
  std::unique_ptr<TestService::Stub> TlsStub(const Door& door,
                                             const certs::Issued& client) {
    return NewStub(door.target(), pki_.Credentials(client));
  }
  static std::unique_ptr<TestService::Stub> PlainStub(const Door& door) {
    return NewStub(door.target(), grpc::InsecureChannelCredentials());
  }

  const Pki pki_;
  const certs::Issued client_ = pki_.NewClient(kId);
  const certs::Issued other_ = pki_.NewClient(kOtherId);
  Believer believer_;
};

TEST_F(LeaveTest, AWithdrawnPeerIsGoneAfterFiveSeconds) {
  Door door(pki_, believer_.Now(), kStrict);
  const auto stub = TlsStub(door, client_);
  const auto good = TlsStub(door, other_);
  ASSERT_TRUE(Ask(stub.get()).status.ok());
  ASSERT_TRUE(Ask(good.get()).status.ok());
  // A stream that never ends.
  grpc::ClientContext context;
  const auto stream = stub->Bidi(&context);
  Reply reply;
  ASSERT_TRUE(stream->Write(Request()) && stream->Read(&reply));

  believer_.Forget(client_.chain);
  const absl::Time begin = absl::Now();
  door.door().SetTrust(believer_.Now(), /*withdrawn=*/true);
  Answer answer = Ask(stub.get());
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_TRUE(answer.draining) << "told at once";
  EXPECT_FALSE(Ask(good.get()).draining);
  EXPECT_TRUE(stream->Write(Request()) && stream->Read(&reply))
      << "calls in flight go on";

  while (absl::Now() - begin < absl::Milliseconds(3900)) {
    answer = Ask(stub.get());
    ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
    ASSERT_TRUE(answer.draining);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  ASSERT_TRUE(Becomes([&] { return !(answer = Ask(stub.get())).status.ok(); }));
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_GE(absl::Now() - begin, absl::Seconds(4));
  EXPECT_FALSE(stream->Read(&reply)) << "ends without a word of its client";
  const absl::Duration ended = absl::Now() - begin;
  EXPECT_GE(ended, absl::Milliseconds(4900));
  EXPECT_LE(ended, absl::Milliseconds(7000));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(Becomes([&] { return door.seen().cancelled == 1; }));
  EXPECT_TRUE(Becomes([&] { return door.counts().connections.open_tls <= 2; }));
  // It connects anew, since its authority is still known, and is not believed.
  ASSERT_TRUE(Becomes([&] {
    return Ask(stub.get(), absl::Seconds(2)).status.error_code() ==
           grpc::StatusCode::UNAUTHENTICATED;
  }));
  EXPECT_TRUE(Ask(good.get()).status.ok());
}

TEST_F(LeaveTest, StrictShutsPlaintextThatNeverMadeACall) {
  Door door(pki_, believer_.Now(), kBoth);
  const RawSocket idle(door.port());
  ASSERT_TRUE(idle.Send(kPreface + kEmptySettings));
  const RawSocket half(door.port());
  ASSERT_TRUE(half.Send("P"));
  ASSERT_TRUE(
      Becomes([&] { return door.counts().connections.open_plaintext == 2; }));
  const absl::Time begin = absl::Now();
  door.door().SetWires(kStrict);
  const RawSocket late(door.port());
  ASSERT_TRUE(late.Send(kPreface));
  EXPECT_TRUE(late.Closes(absl::Seconds(3))) << "a new one";
  EXPECT_TRUE(idle.Closes(absl::Seconds(20)));
  EXPECT_GE(absl::Now() - begin, absl::Milliseconds(4900));
  EXPECT_LE(absl::Now() - begin, absl::Milliseconds(7000));
  EXPECT_TRUE(half.Closes(absl::Seconds(3)));
  EXPECT_TRUE(
      Becomes([&] { return door.counts().connections.open_plaintext == 0; }));
}

// A client that leaves a connection when it is told to. It takes whatever wire
// `tls` says when it connects.
class Mover {
 public:
  Mover(std::function<std::unique_ptr<TestService::Stub>(bool tls)> connect,
        const std::atomic<bool>* tls)
      : connect_(std::move(connect)), tls_(*tls), thread_([this] { Run(); }) {}
  ~Mover() { Stop(); }
  void Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  int failed() const { return failed_; }
  int calls() const { return calls_; }

 private:
  void Run() {
    auto stub = connect_(tls_);
    while (!stop_) {
      const Answer answer = Ask(stub.get());
      ++calls_;
      if (!answer.status.ok()) {
        ++failed_;
        ADD_FAILURE() << answer.status.error_message();
      }
      if (answer.draining || !answer.status.ok()) stub = connect_(tls_);
    }
  }

  const std::function<std::unique_ptr<TestService::Stub>(bool)> connect_;
  const std::atomic<bool>& tls_;
  std::atomic<bool> stop_{false};
  std::atomic<int> failed_{0};
  std::atomic<int> calls_{0};
  std::thread thread_;
};

TEST_F(LeaveTest, AModeChangesUnderLoadWithoutALostCall) {
  Door door(pki_, believer_.Now(), {false, true});
  std::atomic<bool> tls{false};
  std::vector<std::unique_ptr<Mover>> movers;
  for (int i = 0; i < 3; ++i) {
    movers.push_back(std::make_unique<Mover>(
        [&](bool with_tls) {
          return with_tls ? TlsStub(door, client_) : PlainStub(door);
        },
        &tls));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  door.door().SetWires(kBoth);
  tls = true;
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  door.door().SetWires(kStrict);
  EXPECT_TRUE(
      Becomes([&] { return door.counts().connections.open_plaintext == 0; },
              absl::Milliseconds(6000)));
  // And back.
  door.door().SetWires(kBoth);
  tls = false;
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  door.door().SetWires({false, true});
  EXPECT_TRUE(Becomes([&] { return door.counts().connections.open_tls == 0; },
                      absl::Milliseconds(6000)));
  for (const auto& mover : movers) {
    mover->Stop();
    EXPECT_GT(mover->calls(), 100);
    EXPECT_EQ(mover->failed(), 0);
  }
  EXPECT_EQ(door.counts().connections.refused_leaving, 0u);
  EXPECT_EQ(door.counts().connections.shut, 0u) << "all left by themselves";
}

TEST_F(LeaveTest, NothingIsLeftOfManyConnections) {
  Door door(pki_, believer_.Now(), kBoth);
  const auto round = [&] {
    for (int i = 0; i < 20; ++i) {
      EXPECT_TRUE(Ask(TlsStub(door, client_).get()).status.ok());
      EXPECT_TRUE(Ask(PlainStub(door).get()).status.ok());
      const RawSocket raw(door.port());
      raw.Send(i % 2 == 0 ? "P" : "\x16");
    }
    const auto open = [&] {
      const auto counts = door.counts().connections;
      return counts.open_tls + counts.open_plaintext;
    };
    EXPECT_TRUE(Becomes([&] { return open() == 0; }));
  };
  round();
  const int fds = CountFds();
  round();
  round();
  EXPECT_TRUE(Becomes([&] { return CountFds() <= fds; })) << CountFds();
  EXPECT_EQ(door.counts().connections.accepted_tls, 90u);
}

}  // namespace
}  // namespace mesh::test
