#include "mesh/server/listener.h"

#include <sys/socket.h>

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
  explicit Listening(BoundPort port)
      : listener_(*Listener::Make(
            std::move(port),
            std::make_shared<ConnectionLedger>(
                Wires{true, true}, std::make_shared<PeerTrust>(nullptr)),
            [](Wire, int, int, char) { return Listener::Handed::kNotTaken; },
            [](const std::string&) {},
            [this](const std::string& why) {
              why_.push_back(why);
              failed_.Notify();
            })) {
    listener_->Start(std::nullopt);
  }

  Listener& listener() { return *listener_; }
  // What was said, once it is.
  const std::vector<std::string>& Why() {
    failed_.WaitForNotification();
    listener_->Stop();  // Nothing is said any more.
    return why_;
  }

 private:
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

TEST(ListenerTest, APortThatIsClosedHasNotFailed) {
  Listening listening(*BindPort("[::]:0"));
  listening.listener().Close();
  EXPECT_FALSE(listening.listener().counts().failed);
}

}  // namespace
}  // namespace mesh::server
