#include "mesh/server/listener.h"

#include <poll.h>
#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/server/peer_trust.h"

namespace mesh::server {
namespace {

using testing::ElementsAre;

// A listener on a port, and what it says of its failure.
class Listening {
 public:
  explicit Listening(BoundPort port, Listener::HandOver hand_over = TakeNone)
      : listener_(*Listener::Make(
            std::move(port), ledger_, std::move(hand_over),
            [](const std::string&) {},
            [this](const std::string& why) {
              why_.push_back(why);
              failed_.Notify();
            })) {
    listener_->Start(std::nullopt);
  }

  static Listener::Handed TakeNone(Wire, int, int, char) {
    return Listener::Handed::kNotTaken;
  }

  Listener& listener() { return *listener_; }
  // Closes the port. What was to be heard of a connection is heard by then.
  void CloseAndHear() {
    for (int i = 0; i < 2; ++i) listener_->Close();
  }
  uint64_t open() const { return ledger_->counts().open_plaintext; }
  // What was said, once it is.
  const std::vector<std::string>& Why() {
    failed_.WaitForNotification();
    listener_->Stop();  // Nothing is said any more.
    return why_;
  }

 private:
  const std::shared_ptr<ConnectionLedger> ledger_ =
      std::make_shared<ConnectionLedger>(Wires{true, true},
                                         std::make_shared<PeerTrust>(nullptr));
  std::vector<std::string> why_;
  absl::Notification failed_;
  const std::shared_ptr<Listener> listener_;
};

TEST(ListenerTest, APortThatCannotListenSaysSo) {
  BoundPort port = *BindPort("127.0.0.1:0");
  port.port = 8443;
  port.sockets[0].Reset(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  Listening listening(std::move(port));
  EXPECT_TRUE(listening.listener().counts().failed);
  EXPECT_THAT(
      listening.Why(),
      ElementsAre("cannot listen on \":8443\": Operation not supported."));
}

TEST(ListenerTest, APortThatListensNoLongerSaysSoOnce) {
  BoundPort port = *BindPort("127.0.0.1:0");
  const int fd = port.sockets[0].get();
  const int number = port.port;
  Listening listening(std::move(port));
  EXPECT_FALSE(listening.listener().counts().failed);
  ASSERT_EQ(shutdown(fd, SHUT_RDWR), 0);
  EXPECT_THAT(listening.Why(),
              ElementsAre(absl::StrCat("port ", number,
                                       " is closed: accept() failed: Invalid "
                                       "argument.")));
  EXPECT_TRUE(listening.listener().counts().failed);
}

TEST(ListenerTest, AnErrorThatIsANoteEndsNoConnection) {
  OwnedFd taken;
  absl::Notification is_taken;
  BoundPort port = *BindPort("127.0.0.1:0");
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  auto* const to = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(getsockname(port.sockets[0].get(), to, &size), 0);
  Listening listening(std::move(port), [&](Wire, int fd, int, char) {
    taken.Reset(fd);
    is_taken.Notify();
    return Listener::Handed::kTaken;
  });
  const OwnedFd peer(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(connect(peer.get(), to, size), 0);
  ASSERT_EQ(send(peer.get(), "P", 1, 0), 1);
  is_taken.WaitForNotification();
  EXPECT_EQ(listening.open(), 1u);

  // As gRPC sends with GRPC_ARG_TCP_TX_ZEROCOPY_ENABLED.
  const int one = 1;
  ASSERT_EQ(setsockopt(taken.get(), SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)),
            0);
  ASSERT_EQ(send(taken.get(), "hello", 5, MSG_ZEROCOPY), 5);
  pollfd seen = {taken.get(), 0, 0};
  ASSERT_EQ(poll(&seen, 1, 10'000), 1);
  ASSERT_EQ(seen.revents, POLLERR) << "the message has left";
  listening.CloseAndHear();
  EXPECT_EQ(listening.open(), 1u);

  ASSERT_EQ(shutdown(taken.get(), SHUT_RDWR), 0);
  listening.CloseAndHear();
  EXPECT_EQ(listening.open(), 0u);
}

TEST(ListenerTest, APortThatIsClosedHasNotFailed) {
  Listening listening(*BindPort("[::]:0"));
  listening.listener().Close();
  EXPECT_FALSE(listening.listener().counts().failed);
}

}  // namespace
}  // namespace mesh::server
