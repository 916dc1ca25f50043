#include "mesh/service/endpoint.h"

#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/base/mutex.h"
#include "mesh/grpc/core_queue.h"
#include "mesh/grpc/raw_call.h"
#include "mesh/grpc/socket_watch.h"
#include "mesh/service/grpc_connection.h"
#include "mesh/service/service_test_util.h"
#include "tests/support/test_service.grpc.pb.h"

namespace mesh::service {
namespace {

using cluster::Readiness;

const absl::Time kNow = absl::UnixEpoch() + absl::Hours(1);

class EndpointTest : public ::testing::Test {
 protected:
  // What stands for channels: they are only compared.
  grpc_channel* Channel(uint64_t number, bool exact) {
    return reinterpret_cast<grpc_channel*>(
        &channels_[2 * number + (exact ? 1 : 0)]);
  }
  std::shared_ptr<ConnectedEndpoint> Make(bool main_is_exact) {
    cluster::Endpoint endpoint;
    endpoint.address = "a:1";
    return std::make_shared<ConnectedEndpoint>(endpoint, main_is_exact);
  }
  Connection* Open(ConnectedEndpoint* endpoint) {
    const uint64_t number = endpoint->next_number();
    network_.core = [this, number](const std::string&, bool exact) {
      return Channel(number, exact);
    };
    return endpoint->Open(network_.Maker()(
        endpoint->endpoint(), std::make_shared<ConnectionSettings>(), number,
        nullptr));
  }

  char channels_[8] = {};
  FakeNetwork network_;
};

TEST_F(EndpointTest, IsFoundAgainFromWhatPickersKnow) {
  const auto endpoint = Make(true);
  cluster::LiveEndpoint* const live = endpoint.get();
  EXPECT_EQ(ConnectedEndpoint::Of(live), endpoint.get());
}

TEST_F(EndpointTest, HasNoConnectionAtFirst) {
  const auto endpoint = Make(true);
  EXPECT_EQ(endpoint->connection(), nullptr);
  EXPECT_EQ(endpoint->CoreChannel(false), nullptr);
  EXPECT_EQ(endpoint->CoreChannel(true), nullptr);
  EXPECT_EQ(endpoint->Find(0), nullptr);
  EXPECT_EQ(endpoint->next_number(), 0);
  EXPECT_FALSE(endpoint->State(kNow).connection);
}

TEST_F(EndpointTest, ItsFirstConnectionIsNumberZero) {
  const auto endpoint = Make(true);
  Connection* const first = Open(endpoint.get());
  EXPECT_EQ(first->number(), 0);
  EXPECT_EQ(endpoint->connection(), first);
  EXPECT_EQ(endpoint->Find(0), first);
  EXPECT_EQ(endpoint->Find(1), nullptr);
}

TEST_F(EndpointTest, CallsAreMadeOnTheConnectionThatItHas) {
  const auto endpoint = Make(false);
  Open(endpoint.get());
  EXPECT_EQ(endpoint->CoreChannel(false), Channel(0, false));
  EXPECT_EQ(endpoint->CoreChannel(true), Channel(0, true));
  const auto first = endpoint->Detach();
  EXPECT_EQ(endpoint->CoreChannel(false), nullptr);
  EXPECT_EQ(endpoint->CoreChannel(true), nullptr);
  Open(endpoint.get());
  EXPECT_EQ(endpoint->CoreChannel(false), Channel(1, false));
  EXPECT_EQ(endpoint->CoreChannel(true), Channel(1, true));
  EXPECT_EQ(network_.live("a:1"), 2) << "calls may know the first one still";
}

TEST_F(EndpointTest, WhereTheMainChannelIsExactItIsTheOnlyOne) {
  const auto endpoint = Make(true);
  Open(endpoint.get());
  EXPECT_EQ(endpoint->CoreChannel(true), Channel(0, false));
  EXPECT_EQ(endpoint->CoreChannel(false), Channel(0, false));
}

TEST_F(EndpointTest, AConnectionThatIsTakenAwayIsNotFound) {
  const auto endpoint = Make(true);
  Open(endpoint.get());
  EXPECT_NE(endpoint->Detach(), nullptr);
  EXPECT_EQ(network_.live("a:1"), 0);
  EXPECT_EQ(endpoint->connection(), nullptr);
  EXPECT_EQ(endpoint->Find(0), nullptr);
  EXPECT_EQ(endpoint->next_number(), 1) << "no number comes twice";
  EXPECT_EQ(endpoint->Detach(), nullptr);
}

TEST_F(EndpointTest, SaysWhyItCannotBeConnectedTo) {
  const auto endpoint = Make(true);
  EXPECT_EQ(endpoint->Failure().code(), absl::StatusCode::kUnavailable);
  endpoint->SetFailure(absl::UnavailableError("refused"));
  EXPECT_EQ(endpoint->Failure(), absl::UnavailableError("refused"));
}

TEST_F(EndpointTest, ItsStateIsThatOfItsDials) {
  const auto endpoint = Make(true);
  endpoint->set_health(cluster::Health::kEjected, 0);
  endpoint->set_readiness(Readiness::kReady);
  Open(endpoint.get());
  endpoint->dial().dialling = true;
  endpoint->dial().failures = 3;
  endpoint->dial().asked = kNow;
  endpoint->set_priority(7);
  const EndpointState state = endpoint->State(kNow);
  EXPECT_EQ(state.priority, 7);
  EXPECT_TRUE(state.ready);
  EXPECT_TRUE(state.out);
  EXPECT_TRUE(state.connection);
  EXPECT_TRUE(state.dialling);
  EXPECT_FALSE(state.busy);
  EXPECT_EQ(state.failures, 3);
  EXPECT_EQ(state.asked, kNow);
}

TEST_F(EndpointTest, IsUsedWhenACallHasBegunOrEndedSinceItWasLookedAt) {
  const auto endpoint = Make(true);
  endpoint->dial().used = kNow;
  const absl::Time later = kNow + absl::Seconds(1);
  EXPECT_EQ(endpoint->State(later).used, kNow);
  ASSERT_TRUE(endpoint->Acquire());
  EXPECT_FALSE(endpoint->Unused());
  EXPECT_TRUE(endpoint->State(later).busy);
  EXPECT_EQ(endpoint->State(later).used, later);
  endpoint->mutable_counters().CountEnd(absl::StatusCode::kOk, false);
  endpoint->Release();
  EXPECT_TRUE(endpoint->Unused());
  const absl::Time last = later + absl::Seconds(1);
  EXPECT_EQ(endpoint->State(last).used, last);
  EXPECT_EQ(endpoint->State(last + absl::Seconds(1)).used, last);
}

// --- Connection

TEST_F(EndpointTest, AConnectionIsLostAtOnceIfNoCallWentWellOverIt) {
  const auto endpoint = Make(true);
  Connection* const connection = Open(endpoint.get());
  const absl::Time now = absl::UnixEpoch();
  EXPECT_FALSE(connection->LostAtOnce(now, 0)) << "it has not begun";
  connection->Begin(now, 5);
  EXPECT_TRUE(connection->LostAtOnce(now + absl::Milliseconds(99), 5));
  EXPECT_FALSE(connection->LostAtOnce(now + absl::Milliseconds(99), 6));
  EXPECT_FALSE(connection->LostAtOnce(now + absl::Milliseconds(100), 5));
}

// --- What gRPC makes of generations

// The last one of that name counts. -1: there is none.
int IntegerOf(const grpc::ChannelArguments& arguments, const std::string& key) {
  const grpc_channel_args args = arguments.c_channel_args();
  for (size_t i = args.num_args; i-- > 0;) {
    if (args.args[i].key == key) return args.args[i].value.integer;
  }
  return -1;
}

TEST(GrpcConnectionTest, TheFirstNumberIsNoArgument) {
  const cluster::Endpoint endpoint;
  const ConnectionSettings settings;
  EXPECT_EQ(
      IntegerOf(ArgumentsOf(endpoint, settings, 0, true), kNumberArgument), -1);
  EXPECT_EQ(
      IntegerOf(ArgumentsOf(endpoint, settings, 1, true), kNumberArgument), 1);
  EXPECT_EQ(
      IntegerOf(ArgumentsOf(endpoint, settings, 2, true), kNumberArgument), 2);
}

TEST(GrpcConnectionTest, ArgumentsAreWhatIsConfigured) {
  cluster::Endpoint endpoint;
  ConnectionSettings settings;
  settings.authority = "cart.example";
  settings.channel_args["grpc.max_receive_message_length"] = 77;
  settings.options.connect_timeout = absl::Seconds(3);
  const grpc::ChannelArguments without =
      ArgumentsOf(endpoint, settings, 0, /*exact=*/false);
  EXPECT_EQ(IntegerOf(without, GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH), 77);
  EXPECT_EQ(IntegerOf(without, GRPC_ARG_MIN_RECONNECT_BACKOFF_MS), 3000);
  EXPECT_EQ(IntegerOf(without, GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS), 250)
      << "nobody watches the second channel";
  EXPECT_EQ(IntegerOf(without, GRPC_ARG_MAX_RECONNECT_BACKOFF_MS), 10000);
  EXPECT_EQ(IntegerOf(without, GRPC_ARG_ENABLE_RETRIES), 0);
  EXPECT_EQ(IntegerOf(without, GRPC_ARG_KEEPALIVE_TIME_MS), -1);

  settings.options.keepalive_time = absl::Seconds(30);
  const grpc::ChannelArguments with =
      ArgumentsOf(endpoint, settings, 0, /*exact=*/true);
  EXPECT_EQ(IntegerOf(with, GRPC_ARG_ENABLE_RETRIES), -1) << "as gRPC has it";
  EXPECT_EQ(IntegerOf(with, GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS), 3000)
      << "gRPC is not to dial again by itself";
  EXPECT_EQ(IntegerOf(with, GRPC_ARG_MAX_RECONNECT_BACKOFF_MS), -1);
  EXPECT_EQ(IntegerOf(with, GRPC_ARG_KEEPALIVE_TIME_MS), 30000);
  EXPECT_EQ(IntegerOf(with, GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA), 0);

  settings.channel_args[GRPC_ARG_ENABLE_RETRIES] = 0;
  EXPECT_EQ(IntegerOf(ArgumentsOf(endpoint, settings, 0, /*exact=*/true),
                      GRPC_ARG_ENABLE_RETRIES),
            1)
      << "a call may be sent twice only by its policy";
}

std::string TextOf(const grpc::ChannelArguments& arguments,
                   const std::string& key) {
  const grpc_channel_args args = arguments.c_channel_args();
  std::string all;
  for (size_t i = 0; i < args.num_args; ++i) {
    if (args.args[i].key == key) all += args.args[i].value.string;
  }
  return all;
}

// gRPC's own authority for an address is that address.
TEST(GrpcConnectionTest, TheAuthorityIsSetWhereItIsNotTheAddress) {
  const auto authority_of = [](const std::string& address,
                               const std::string& authority) {
    cluster::Endpoint endpoint;
    endpoint.address = address;
    ConnectionSettings settings;
    settings.authority = authority;
    return TextOf(ArgumentsOf(endpoint, settings, 0, true),
                  GRPC_ARG_DEFAULT_AUTHORITY);
  };
  EXPECT_EQ(authority_of("10.0.0.1:80", "10.0.0.1:80"), "");
  EXPECT_EQ(authority_of("10.0.0.1:80", "10.0.0.2:80"), "10.0.0.2:80");
  EXPECT_EQ(authority_of("10.0.0.1:80", "cart.example"), "cart.example");
  EXPECT_EQ(authority_of("[::1]:80", "[::1]:80"), "[::1]:80");
  EXPECT_EQ(authority_of("unix:/a", "localhost"), "localhost");
}

TEST(GrpcConnectionTest, AUserAgentStandsBeforeGrpcsOwn) {
  ConnectionSettings settings;
  settings.channel_args["grpc.primary_user_agent"] = std::string("shop/1");
  const std::string agent =
      TextOf(ArgumentsOf(cluster::Endpoint(), settings, 0, true),
             "grpc.primary_user_agent");
  EXPECT_EQ(agent.rfind("shop/1 grpc-c++/", 0), 0u) << agent;
}

TEST(GrpcConnectionTest, AddressesOfANameGoThroughNoProxy) {
  cluster::Endpoint endpoint;
  endpoint.address = "10.0.0.1:80";
  ConnectionSettings settings;
  EXPECT_EQ(IntegerOf(ArgumentsOf(endpoint, settings, 0, true),
                      GRPC_ARG_ENABLE_HTTP_PROXY),
            -1);
  settings.resolved = true;
  EXPECT_EQ(IntegerOf(ArgumentsOf(endpoint, settings, 0, true),
                      GRPC_ARG_ENABLE_HTTP_PROXY),
            0);
  // What the proxy is to find is handed to it.
  endpoint.address = "dns:///cart.example:80";
  EXPECT_EQ(IntegerOf(ArgumentsOf(endpoint, settings, 0, true),
                      GRPC_ARG_ENABLE_HTTP_PROXY),
            -1);
}

// Says from where it is called.
class Mirror final : public test::TestService::Service {
 public:
  grpc::Status Unary(grpc::ServerContext* context, const test::Request*,
                     test::Reply*) override {
    base::MutexLock lock(&mu_);
    peer_ = context->peer();
    return grpc::Status::OK;
  }
  std::string peer() {
    base::MutexLock lock(&mu_);
    return peer_;
  }

 private:
  base::Mutex mu_;
  std::string peer_ ABSL_GUARDED_BY(mu_);
};

// Pins what gRPC does, on which numbers rely.
TEST(GrpcConnectionTest, OnlyAnotherNumberIsAnotherConnection) {
  Mirror mirror;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterService(&mirror);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);

  std::vector<std::shared_ptr<grpc::Channel>> channels;
  const auto peer_of = [&](uint64_t number) {
    channels.push_back(grpc::CreateCustomChannel(
        "ipv4:127.0.0.1:" + std::to_string(port),
        grpc::InsecureChannelCredentials(),
        ArgumentsOf(cluster::Endpoint(), ConnectionSettings(), number,
                    /*exact=*/true)));
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    test::Reply reply;
    EXPECT_TRUE(test::TestService::NewStub(channels.back())
                    ->Unary(&context, test::Request(), &reply)
                    .ok());
    return mirror.peer();
  };
  const std::string first = peer_of(0);
  EXPECT_EQ(peer_of(0), first);
  const std::string second = peer_of(1);
  EXPECT_NE(second, first);
  EXPECT_EQ(peer_of(1), second);
  EXPECT_NE(peer_of(2), second);
}

// A socket is known without channels being different for it.
TEST(GrpcConnectionTest, ASocketIsKnownAndCanBeEnded) {
  Mirror mirror;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterService(&mirror);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  const auto make = [&](const std::shared_ptr<core::SocketWatch>& watch) {
    grpc::ChannelArguments args;
    watch->AddTo(&args);
    channels.push_back(
        grpc::CreateCustomChannel("ipv4:127.0.0.1:" + std::to_string(port),
                                  grpc::InsecureChannelCredentials(), args));
  };
  const auto peer_of = [&](size_t channel) {
    const auto stub = test::TestService::NewStub(channels[channel]);
    bool ok = false;
    for (int i = 0; i < 100 && !ok; ++i) {  // One may meet the end.
      grpc::ClientContext context;
      context.set_wait_for_ready(true);
      test::Reply reply;
      ok = stub->Unary(&context, test::Request(), &reply).ok();
    }
    EXPECT_TRUE(ok);
    return mirror.peer();
  };
  const auto watch = std::make_shared<core::SocketWatch>();
  const auto other = std::make_shared<core::SocketWatch>();
  make(watch);
  EXPECT_FALSE(watch->BytesReceived().has_value());
  EXPECT_FALSE(watch->Break());

  const std::string first = peer_of(0);
  make(other);
  EXPECT_EQ(peer_of(1), first) << "they share it";
  EXPECT_FALSE(other->Break()) << "it has not dialled";
  ASSERT_TRUE(watch->BytesReceived().has_value());
  const uint64_t before = *watch->BytesReceived();
  EXPECT_GT(before, 0);
  peer_of(0);
  EXPECT_GT(*watch->BytesReceived(), before);

  EXPECT_TRUE(watch->Break());
  EXPECT_NE(peer_of(0), first);
}

// The first channel is for calls that may run twice, the second for others.
TEST(GrpcConnectionTest, BreakingItEndsBothOfItsChannels) {
  Mirror mirror;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterService(&mirror);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  auto settings = std::make_shared<ConnectionSettings>();
  auto secrets = std::make_shared<Secrets>();
  int made = 0;
  secrets->make = [&made](const Secrets::Expires& expires) {
    ++made;
    EXPECT_NE(expires, nullptr);
    return grpc::InsecureChannelCredentials();
  };
  settings->secrets = std::move(secrets);
  settings->all_idempotent = true;
  cluster::Endpoint endpoint;
  endpoint.address = "127.0.0.1:" + std::to_string(port);
  core::CoreQueue watches;
  const auto connection = MakeGrpcConnection(
      endpoint, settings, 0, [](absl::Time) {}, &watches);
  const auto peer_of = [&](bool exact) {
    bool ok = false;
    for (int i = 0; i < 100 && !ok; ++i) {  // One may meet the end.
      auto call = std::make_shared<core::RawCall>(grpc_channel_create_call(
          connection->Core(exact), nullptr, GRPC_PROPAGATE_DEFAULTS,
          watches.queue(),
          grpc_slice_from_static_string("/mesh.test.TestService/Unary"),
          nullptr,
          gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                       gpr_time_from_seconds(5, GPR_TIMESPAN)),
          nullptr));
      const grpc::Slice none;
      std::promise<void> done;
      core::RawCall::Start(call, {}, GRPC_INITIAL_METADATA_WAIT_FOR_READY,
                           grpc::ByteBuffer(&none, 1),
                           [&done] { done.set_value(); });
      done.get_future().wait();
      ok = call->answer().status.ok();
    }
    EXPECT_TRUE(ok);
    return mirror.peer();
  };
  const std::string main = peer_of(false);
  const std::string exact = peer_of(true);
  EXPECT_NE(main, exact);
  EXPECT_EQ(peer_of(false), main);
  EXPECT_EQ(peer_of(true), exact);
  EXPECT_TRUE(connection->Break());
  EXPECT_NE(peer_of(false), main);
  EXPECT_NE(peer_of(true), exact);
  EXPECT_EQ(made, 1) << "both have the same credentials";
}

class GrpcConnectionSettings : public ::testing::TestWithParam<bool> {};

TEST_P(GrpcConnectionSettings, HasASecondChannelOnlyWhereItIsNeeded) {
  auto settings = std::make_shared<ConnectionSettings>();
  settings->secrets = FixedSecrets(grpc::InsecureChannelCredentials());
  settings->all_idempotent = GetParam();
  cluster::Endpoint endpoint;
  endpoint.address = "127.0.0.1:1";  // Nothing connects to it.
  core::CoreQueue watches;
  const auto connection =
      MakeGrpcConnection(endpoint, settings, 3, nullptr, &watches);
  EXPECT_EQ(connection->number(), 3);
  EXPECT_EQ(connection->GetState(/*connect=*/false), GRPC_CHANNEL_IDLE);
  grpc_channel* const main = connection->Core(/*exact=*/false);
  EXPECT_NE(main, nullptr);
  EXPECT_EQ(connection->Core(/*exact=*/true) != main, GetParam());
  EXPECT_EQ(connection->Core(/*exact=*/true), connection->Core(/*exact=*/true));
}

INSTANTIATE_TEST_SUITE_P(AllIdempotent, GrpcConnectionSettings,
                         ::testing::Bool());

}  // namespace
}  // namespace mesh::service
