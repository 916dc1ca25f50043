// A port of mesh as its peers see it: first bytes, silence, shutdown, the pair
// that it shows.

#include "mesh/server/listen.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/server/connection_ledger.h"
#include "openssl/ssl.h"
#include "tests/listen/door_test_util.h"
#include "tests/process/process.h"

namespace mesh::test {
namespace {

using server::Listen;
using server::ListenOptions;
using server::Wires;

constexpr Wires kBoth = {true, true};
constexpr char kId[] = "spiffe://prod/cart";
constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const std::string kEmptySettings("\0\0\0\4\0\0\0\0\0", 9);

class ListenTest : public ::testing::Test {
 protected:
  ListenTest() { believer_.Believe(client_.chain, kId); }

  std::unique_ptr<Door> NewDoor(Wires wires,
                                const Door::Change& change = nullptr) {
    return std::make_unique<Door>(pki_, believer_.Now(), wires, change);
  }
  std::unique_ptr<TestService::Stub> TlsStub(const Door& door) {
    return NewStub(door.target(), pki_.Credentials(client_));
  }
  static std::unique_ptr<TestService::Stub> PlainStub(const Door& door) {
    return NewStub(door.target(), grpc::InsecureChannelCredentials());
  }

  const Pki pki_;
  const certs::Issued client_ = pki_.NewClient(kId);
  Believer believer_;
};

TEST_F(ListenTest, OnePortTakesBothWires) {
  const auto door = NewDoor(kBoth);
  const Answer tls = Ask(TlsStub(*door).get());
  EXPECT_TRUE(tls.status.ok()) << tls.status.error_message();
  EXPECT_EQ(tls.caller, kId);
  const Answer plain = Ask(PlainStub(*door).get());
  EXPECT_TRUE(plain.status.ok()) << plain.status.error_message();
  EXPECT_EQ(plain.caller, "plaintext");
  EXPECT_FALSE(tls.draining || plain.draining);
}

TEST_F(ListenTest, EveryAddressFormIsServed) {
  for (const char* const address : {"0.0.0.0:0", "[::]:0", "[::1]:0"}) {
    Door door(pki_, believer_.Now(), kBoth, nullptr, address);
    const auto stub =
        NewStub(absl::StrCat("[::1]:", door.port()), pki_.Credentials(client_));
    const Answer answer = Ask(stub.get());
    EXPECT_TRUE(answer.status.ok()) << address;
    EXPECT_EQ(answer.caller, kId) << "its IPv6 address is known";
  }
}

TEST_F(ListenTest, AClientWithoutOrWithAnotherCertificateGetsNoConnection) {
  const auto door = NewDoor({true, false});
  grpc::SslCredentialsOptions none;
  none.pem_root_certs = pki_.root();
  const Pki other("other");
  const certs::Issued stranger = other.NewClient(kId);
  grpc::SslCredentialsOptions foreign = none;
  foreign.pem_cert_chain = stranger.chain;
  foreign.pem_private_key = stranger.key;
  for (const auto& options : {none, foreign}) {
    const auto stub = NewStub(door->target(), grpc::SslCredentials(options));
    EXPECT_EQ(Ask(stub.get(), absl::Seconds(2)).status.error_code(),
              grpc::StatusCode::UNAVAILABLE);
  }
  EXPECT_EQ(door->seen().calls, 0);
  EXPECT_TRUE(Ask(TlsStub(*door).get()).status.ok());
}

TEST_F(ListenTest, ACallerThatIsNotBelievedHadACallAllTheSame) {
  const auto door = NewDoor({true, false});
  const certs::Issued stranger = pki_.NewClient("spiffe://prod/stranger");
  {
    const auto stub = NewStub(door->target(), pki_.Credentials(stranger));
    for (uint64_t i = 1; i <= 3; ++i) {
      EXPECT_EQ(Ask(stub.get()).status.error_code(),
                grpc::StatusCode::UNAUTHENTICATED);
      EXPECT_EQ(door->counts().connections.refused_unverified, i);
    }
  }
  EXPECT_TRUE(
      Becomes([&] { return door->counts().connections.open_tls == 0; }));
  EXPECT_EQ(door->counts().connections.accepted_tls, 1u);
  EXPECT_EQ(door->counts().connections.closed_before_call, 0u);
}

TEST_F(ListenTest, OtherFirstBytesAreClosedAtOnce) {
  const auto door = NewDoor(kBoth);
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(1, '\0'),
        std::string("\x15"), std::string("\x17"), std::string("p"),
        std::string("\x80"), std::string("\xff\xff")}) {
    const RawSocket socket(door->port());
    ASSERT_TRUE(socket.Send(bytes));
    EXPECT_TRUE(socket.Closes(absl::Seconds(3))) << bytes;
  }
  EXPECT_EQ(door->counts().listener.other_bytes, 7u);
  EXPECT_TRUE(Ask(TlsStub(*door).get()).status.ok());
}

TEST_F(ListenTest, AByteThatTheRestBeliesEndsItsConnectionOnly) {
  const auto door = NewDoor(kBoth);
  for (const std::string& bytes :
       {"P" + std::string("\x16\x03\x01\x00\x05hello") + std::string(100, 'x'),
        "\x16" + std::string(200, '\xee'), "\x16" + std::string(kPreface)}) {
    const RawSocket socket(door->port());
    ASSERT_TRUE(socket.Send(bytes));
    EXPECT_TRUE(socket.Closes(absl::Seconds(10)));
  }
  EXPECT_TRUE(Ask(TlsStub(*door).get()).status.ok());
  EXPECT_TRUE(Ask(PlainStub(*door).get()).status.ok());
}

TEST_F(ListenTest, PlaintextMayComeByteByByte) {
  const auto door = NewDoor(kBoth);
  const RawSocket socket(door->port());
  for (const char byte : kPreface + kEmptySettings) {
    ASSERT_TRUE(socket.Send(std::string(1, byte)));
  }
  // The server's own SETTINGS: type 4 on stream 0.
  const std::string frame = socket.Read(9, absl::Seconds(10));
  ASSERT_GE(frame.size(), 9u);
  EXPECT_EQ(frame[3], '\4');
}

// A unary call on stream 1, as HTTP/2 without TLS.
std::string RawCall() {
  std::string headers = "\x83\x86";  // :method POST, :scheme http.
  for (const auto& [name, value] :
       {std::pair<std::string, std::string>(":path",
                                            "/mesh.test.TestService/Unary"),
        {":authority", "cart"},
        {"content-type", "application/grpc"},
        {"te", "trailers"}}) {
    // Not indexed, with a name of its own, without Huffman's code.
    headers += absl::StrCat(
        std::string(1, '\0'), std::string(1, static_cast<char>(name.size())),
        name, std::string(1, static_cast<char>(value.size())), value);
  }
  const std::string stream("\0\0\0\1", 4);
  return absl::StrCat(
      std::string(2, '\0'), std::string(1, static_cast<char>(headers.size())),
      "\1\4", stream, headers,
      // An empty message, which ends the stream.
      std::string("\0\0\5\0\1", 5), stream, std::string(5, '\0'));
}

TEST_F(ListenTest, ACallToAnotherPortFromTheSameAddressClaimsNoConnection) {
  int other_port = 0;
  const auto door =
      NewDoor(kBoth, [&](ListenOptions*, grpc::ServerBuilder* builder) {
        builder->AddListeningPort(
            "127.0.0.1:0", grpc::InsecureServerCredentials(), &other_port);
      });
  const RawSocket ours(door->port());
  ASSERT_TRUE(ours.Send(kPreface + kEmptySettings));
  ASSERT_TRUE(
      Becomes([&] { return door->counts().connections.open_plaintext == 1; }));
  sockaddr_in address = {};
  socklen_t size = sizeof(address);
  getsockname(ours.fd(), reinterpret_cast<sockaddr*>(&address), &size);
  const RawSocket other(other_port, ntohs(address.sin_port));
  ASSERT_GE(other.fd(), 0);
  const auto answers = [](const RawSocket& socket, const std::string& bytes,
                          const std::string& name) {
    std::string read;
    return socket.Send(bytes) && Becomes([&] {
             read += socket.Read(1, absl::Seconds(1));
             return read.find(name) != std::string::npos;
           });
  };
  EXPECT_TRUE(answers(other, kPreface + kEmptySettings + RawCall(), "unknown"));
  EXPECT_TRUE(answers(ours, RawCall(), "plaintext"))
      << "its connection is its own";
}

// A unary call whose message is held back.
class HeldCall {
 public:
  explicit HeldCall(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(channel),
        call_(stub_.PrepareCall(&context_, "/mesh.test.TestService/Unary",
                                &queue_)) {
    call_->StartCall(this);
    Wait();
  }
  ~HeldCall() { queue_.Shutdown(); }

  // Sends the message.
  Answer Finish() {
    const grpc::Slice empty;
    call_->WriteLast(grpc::ByteBuffer(&empty, 1), grpc::WriteOptions(), this);
    Wait();
    grpc::ByteBuffer bytes;
    call_->Read(&bytes, this);
    Reply reply;
    if (Wait()) {
      grpc::SerializationTraits<Reply>::Deserialize(&bytes, &reply);
    }
    Answer answer;
    call_->Finish(&answer.status, this);
    Wait();
    answer.caller = reply.payload();
    return answer;
  }

 private:
  bool Wait() {
    void* tag = nullptr;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }

  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  grpc::GenericStub stub_;
  const std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
};

// Makes so many connections without TLS to `door`, each with the headers of a
// call and nothing more.
void Crowd(const Door& door, size_t count) {
  const auto counts = [&] { return door.counts().connections; };
  const std::string call = RawCall();
  const std::string headers = call.substr(0, call.size() - 14);
  const uint64_t open = counts().open_plaintext;
  while (count > 0) {
    std::vector<RawSocket> some;
    const uint64_t ruled = counts().calls_plaintext;
    for (; some.size() < 100 && count > 0; --count) {
      some.emplace_back(door.port());
      ASSERT_TRUE(some.back().Send(kPreface + kEmptySettings + headers));
    }
    ASSERT_TRUE(Becomes(
        [&] { return counts().calls_plaintext == ruled + some.size(); }));
  }
  ASSERT_TRUE(Becomes([&] { return counts().open_plaintext == open; }));
}

TEST_F(ListenTest, ACallHasItsNameHoweverManyComeBeforeItsMessage) {
  std::atomic<int> ruled{0};
  const auto door =
      NewDoor(kBoth, [&](ListenOptions* options, grpc::ServerBuilder*) {
        options->authorize = [&](const server::GuardedCall&) {
          return ++ruled <= 3;  // No handler sees the crowd.
        };
      });
  HeldCall plain(
      NewChannel(door->target(), grpc::InsecureChannelCredentials()));
  HeldCall tls(NewChannel(door->target(), pki_.Credentials(client_)));
  HeldCall refused(NewChannel(door->target(), pki_.Credentials(client_)));
  ASSERT_TRUE(Becomes([&] { return ruled == 3; }));
  Crowd(*door, server::ConnectionLedger::kSpareContacts + 10);
  EXPECT_EQ(plain.Finish().caller, "plaintext");
  EXPECT_EQ(tls.Finish().caller, kId);
  door->door().SetTrust(Believer().Now(), /*withdrawn=*/false);
  const grpc::Status status = refused.Finish().status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(status.error_message(),
            "the caller is not verified: its name is not known.");
}

// The first flight of a TLS client.
std::string ClientHello() {
  SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  const unsigned char alpn[] = "\2h2";
  SSL_CTX_set_alpn_protos(context, alpn, 3);
  SSL* const ssl = SSL_new(context);
  BIO* const in = BIO_new(BIO_s_mem());
  BIO* const out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl, in, out);
  SSL_set_connect_state(ssl);
  SSL_do_handshake(ssl);
  char* data = nullptr;
  const long size = BIO_get_mem_data(out, &data);
  std::string hello(data, static_cast<size_t>(size));
  SSL_free(ssl);
  SSL_CTX_free(context);
  return hello;
}

TEST_F(ListenTest, AClientHelloMayComeByteByByte) {
  const auto door = NewDoor(kBoth);
  const RawSocket socket(door->port());
  for (const char byte : ClientHello()) {
    ASSERT_TRUE(socket.Send(std::string(1, byte)));
  }
  // A handshake record with the server's hello.
  const std::string answer = socket.Read(6, absl::Seconds(10));
  ASSERT_GE(answer.size(), 6u);
  EXPECT_EQ(answer[0], '\x16');
  EXPECT_EQ(answer[5], '\2');
}

TEST_F(ListenTest, ACutClientHelloCostsNothingWhenItsPeerGoes) {
  const auto door = NewDoor(kBoth);
  const std::string hello = ClientHello();
  ASSERT_TRUE(Ask(TlsStub(*door).get()).status.ok());
  const int fds = CountFds();
  for (const size_t size : {size_t{1}, size_t{5}, hello.size() / 2}) {
    const RawSocket socket(door->port());
    ASSERT_TRUE(socket.Send(hello.substr(0, size)));
    EXPECT_TRUE(
        Becomes([&] { return door->counts().connections.open_tls > 0; }));
    ASSERT_EQ(shutdown(socket.fd(), SHUT_WR), 0);
    EXPECT_TRUE(socket.Closes(absl::Seconds(10)));
  }
  EXPECT_TRUE(
      Becomes([&] { return door->counts().connections.open_tls == 0; }));
  EXPECT_TRUE(Becomes([&] { return CountFds() <= fds; }));
  EXPECT_GE(door->counts().connections.closed_before_call, 3u);
}

TEST_F(ListenTest, PeersThatSayNothingTakeNoThreadAndStopNobody) {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 20000);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  const auto door = NewDoor(kBoth);
  const auto stub = TlsStub(*door);
  ASSERT_TRUE(Ask(stub.get()).status.ok());
  const int threads = CountThreads();
  const absl::Time begin = absl::Now();
  std::vector<RawSocket> silent;
  for (int i = 0; i < 1000; ++i) {
    silent.emplace_back(door->port());
    ASSERT_GE(silent.back().fd(), 0);
  }
  EXPECT_TRUE(Becomes([&] { return door->counts().listener.waiting == 1000; }));
  EXPECT_LE(CountThreads(), threads + 2) << "gRPC's own come and go";
  const absl::Time asked = absl::Now();
  EXPECT_TRUE(Ask(TlsStub(*door).get()).status.ok()) << "a new connection";
  EXPECT_TRUE(Ask(stub.get()).status.ok());
  EXPECT_LT(absl::Now() - asked, absl::Seconds(3));
  EXPECT_TRUE(silent.back().Closes(absl::Seconds(20)));
  EXPECT_GE(absl::Now() - begin, absl::Seconds(5));
  EXPECT_TRUE(Becomes([&] { return door->counts().listener.silent == 1000; }));
  EXPECT_EQ(door->counts().listener.waiting, 0u);
}

TEST_F(ListenTest, WithoutDescriptorsConnectionsWait) {
  std::vector<std::string> lines;
  base::Mutex mu;
  const auto door =
      NewDoor(kBoth, [&](ListenOptions* options, grpc::ServerBuilder*) {
        options->log = [&](const std::string& line) {
          base::MutexLock lock(&mu);
          lines.push_back(line);
        };
      });
  const auto stub = TlsStub(*door);
  ASSERT_TRUE(Ask(stub.get()).status.ok());
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t before = limit.rlim_cur;
  std::unique_ptr<RawSocket> waits;
  {
    const RawSocket first(door->port());  // Its number is the highest.
    limit.rlim_cur = static_cast<rlim_t>(first.fd()) + 1;
  }
  waits = std::make_unique<RawSocket>(door->port());
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  // Whatever was free below the limit is used up.
  std::vector<int> used;
  for (int fd = dup(0); fd >= 0; fd = dup(0)) used.push_back(fd);
  EXPECT_TRUE(Ask(stub.get()).status.ok()) << "an old connection";
  ASSERT_TRUE(waits->Send(kPreface + kEmptySettings));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  for (const int fd : used) close(fd);
  limit.rlim_cur = before;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  const Answer answer = Ask(TlsStub(*door).get());
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  base::MutexLock lock(&mu);
  for (const std::string& line : lines) {
    EXPECT_NE(line.find("Too many open files"), std::string::npos) << line;
  }
}

TEST_F(ListenTest, TheNextHandshakeShowsTheNewPair) {
  const auto door = NewDoor(kBoth);
  const core::ServerPair one = pki_.NewServerPair();
  const core::ServerPair two = pki_.NewServerPair();
  door->Show(one);
  const auto old = TlsStub(*door);
  EXPECT_EQ(Ask(old.get()).server, *one.chain);
  door->Show(two);
  EXPECT_EQ(Ask(TlsStub(*door).get()).server, *two.chain);
  EXPECT_EQ(Ask(old.get()).server, *one.chain) << "the same connection";

  core::ServerPair bad = two;
  bad.key = one.key;
  door->Show(bad);
  EXPECT_EQ(Ask(TlsStub(*door).get()).server, *two.chain);
  bad.key = std::make_shared<std::string>("no key at all");
  door->Show(bad);
  EXPECT_EQ(Ask(TlsStub(*door).get()).server, *two.chain);
  door->Show(one);
  EXPECT_EQ(Ask(TlsStub(*door).get()).server, *one.chain);
}

TEST_F(ListenTest, AnOldPairGoesBeforeTheNextHandshake) {
  const auto door = NewDoor(kBoth);
  core::ServerPair one = pki_.NewServerPair();
  door->Show(one);
  const auto stub = TlsStub(*door);
  EXPECT_EQ(Ask(stub.get()).server, *one.chain);
  const std::weak_ptr<const std::string> key = one.key;
  door->Show(pki_.NewServerPair());
  one = core::ServerPair();
  EXPECT_TRUE(key.expired());
  EXPECT_TRUE(Ask(stub.get()).status.ok());
}

TEST_F(ListenTest, AServerMayStartBeforeItsIdentityComes) {
  const auto door = NewDoor(kBoth);
  const core::ServerPair pair = pki_.NewServerPair();
  door->Show({});
  EXPECT_EQ(Ask(TlsStub(*door).get(), absl::Seconds(1)).status.error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(Ask(PlainStub(*door).get()).status.ok());
  door->Show(pair);
  EXPECT_EQ(Ask(TlsStub(*door).get()).server, *pair.chain);
  door->Show({});
  EXPECT_FALSE(Ask(TlsStub(*door).get(), absl::Seconds(1)).status.ok());
}

TEST_F(ListenTest, AKilledClientLeavesNothingBehind) {
  const TempDirectory files;
  const auto door = NewDoor(kBoth);
  ASSERT_TRUE(Ask(TlsStub(*door).get()).status.ok());
  EXPECT_TRUE(
      Becomes([&] { return door->counts().connections.open_tls == 0; }));
  const int fds = CountFds();
  {
    auto client = Process::Start(
        {"openssl", "s_client", "-connect", door->target(), "-quiet", "-alpn",
         "h2", "-cert", files.Write("cert.pem", client_.chain), "-key",
         files.Write("key.pem", client_.key), "-CAfile",
         files.Write("ca.pem", pki_.root())});
    ASSERT_TRUE(client.ok()) << client.status();
    EXPECT_TRUE(
        Becomes([&] { return door->counts().connections.open_tls == 1; }));
    (*client)->Signal(SIGKILL);
    EXPECT_TRUE(
        Becomes([&] { return door->counts().connections.open_tls == 0; }));
  }
  EXPECT_TRUE(Becomes([&] { return CountFds() <= fds; }));
}

TEST_F(ListenTest, ItGoesInAnyOrderWithItsServer) {
  const auto warm = [&] {
    const auto door = NewDoor(kBoth);
    EXPECT_TRUE(Ask(TlsStub(*door).get()).status.ok());
  };
  warm();
  const int fds = CountFds();
  for (const int order : {0, 1, 2, 3}) {
    SCOPED_TRACE(order);
    auto door = NewDoor(kBoth);
    const auto tls = TlsStub(*door);
    EXPECT_TRUE(Ask(tls.get()).status.ok());
    const RawSocket silent(door->port());
    const RawSocket half(door->port());
    // With "P" gRPC's Shutdown() waits 20 s for it to answer a PING.
    half.Send("\x16");
    switch (order) {
      case 0:  // The port, then the server.
        door->door().Close();
        EXPECT_LT(RawSocket(door->port()).fd(), 0);
        EXPECT_TRUE(silent.Closes(absl::Seconds(3)));
        EXPECT_TRUE(Ask(tls.get()).status.ok()) << "connections stay";
        door->server().Shutdown(std::chrono::system_clock::now());
        break;
      case 1: {  // The server, then the port: the next peer finds out.
        door->server().Shutdown(std::chrono::system_clock::now());
        const RawSocket late(door->port());
        if (late.fd() >= 0) {
          late.Send("P");
          EXPECT_TRUE(late.Closes(absl::Seconds(3)));
        }
        EXPECT_TRUE(Becomes([&] { return RawSocket(door->port()).fd() < 0; }));
        break;
      }
      case 2:  // The handle goes first, and the port stays.
        door->TakeDoor() = nullptr;
        EXPECT_TRUE(Ask(TlsStub(*door).get()).status.ok());
        break;
      case 3: {  // The server goes whole, the handle stays.
        const auto handle = door->TakeDoor();
        door->Destroy();
        EXPECT_LT(RawSocket(door->port()).fd(), 0);
        handle->SetWires({true, false});
        handle->SetTrust(nullptr, true);
        handle->Close();
        EXPECT_EQ(handle->counts().connections.open_tls, 0u);
        break;
      }
    }
  }
  EXPECT_TRUE(Becomes([&] { return CountFds() <= fds; })) << CountFds();
}

TEST_F(ListenTest, AServerThatIsNeverStartedLeavesNothing) {
  const int fds = CountFds();
  for (const bool build : {false, true}) {
    grpc::ServerBuilder builder;
    int port = 0;
    auto door = Listen(&builder, "127.0.0.1:0", {}, &port);
    ASSERT_TRUE(door.ok()) << door.status();
    EXPECT_GT(port, 0);
    EXPECT_LT(RawSocket(port).fd(), 0);
    if (build) {
      EXPECT_EQ(builder.BuildAndStart(), nullptr) << "no service";
    }
  }
  EXPECT_TRUE(Becomes([&] { return CountFds() <= fds; }));
}

TEST_F(ListenTest, AWrongUseIsSaidSo) {
  grpc::ServerBuilder builder;
  EXPECT_EQ(Listen(&builder, "unix:/tmp/x", {}, nullptr).status().message(),
            "\"unix:/tmp/x\" is no address for Listen(), which takes IP "
            "addresses only. Use grpc::ServerBuilder::AddListeningPort() for a "
            "Unix socket.");
  EXPECT_EQ(Listen(&builder, "cart:80", {}, nullptr).status().code(),
            absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(Listen(&builder, "127.0.0.1:0", {}, nullptr).ok());
  EXPECT_EQ(Listen(&builder, "127.0.0.1:0", {}, nullptr).status().message(),
            "Listen() or Attach() was called for this builder before. Call "
            "Listen() once, and Attach() not at all.");
  grpc::ServerBuilder attached;
  server::Attach(&attached);
  EXPECT_EQ(Listen(&attached, "127.0.0.1:0", {}, nullptr).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace mesh::test
