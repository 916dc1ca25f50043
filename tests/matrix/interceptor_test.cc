// User interceptors run outside the mesh, once a logical call: they see and do
// the same as on a bare channel.

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "tests/matrix/environment.h"
#include "tests/matrix/script.h"

namespace mesh::test {
namespace {

using grpc::experimental::ClientInterceptorFactoryInterface;
using grpc::experimental::ClientRpcInfo;
using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;

constexpr std::pair<InterceptionHookPoints, const char*> kHooks[] = {
    {InterceptionHookPoints::PRE_SEND_INITIAL_METADATA,
     "pre send initial metadata"},
    {InterceptionHookPoints::PRE_SEND_MESSAGE, "pre send message"},
    {InterceptionHookPoints::POST_SEND_MESSAGE, "post send message"},
    {InterceptionHookPoints::PRE_SEND_CLOSE, "pre send close"},
    {InterceptionHookPoints::PRE_RECV_INITIAL_METADATA,
     "pre recv initial metadata"},
    {InterceptionHookPoints::PRE_RECV_MESSAGE, "pre recv message"},
    {InterceptionHookPoints::PRE_RECV_STATUS, "pre recv status"},
    {InterceptionHookPoints::POST_RECV_INITIAL_METADATA,
     "post recv initial metadata"},
    {InterceptionHookPoints::POST_RECV_MESSAGE, "post recv message"},
    {InterceptionHookPoints::POST_RECV_STATUS, "post recv status"},
    {InterceptionHookPoints::PRE_SEND_CANCEL, "pre send cancel"},
};

// What an interceptor of these tests does besides noting its hook points.
struct Behaviour {
  std::string name;
  bool adds_metadata = false;   // To the request and to both answers.
  bool changes_status = false;  // To ABORTED.
  bool hijacks = false;         // Answers in the server's place.
};

class TestInterceptor final : public Interceptor {
 public:
  TestInterceptor(Behaviour behaviour, HookLog* log, ClientRpcInfo* info)
      : behaviour_(std::move(behaviour)), log_(log) {
    log_->Add(absl::StrCat(behaviour_.name, ": made for ", info->method(),
                           " type ", static_cast<int>(info->type())));
  }

  void Intercept(InterceptorBatchMethods* methods) override {
    bool hijack = false;
    for (const auto& [hook, text] : kHooks) {
      if (!methods->QueryInterceptionHookPoint(hook)) continue;
      log_->Add(absl::StrCat(behaviour_.name, ": ", text));
      switch (hook) {
        case InterceptionHookPoints::PRE_SEND_INITIAL_METADATA:
          hijack = behaviour_.hijacks;
          if (behaviour_.adds_metadata) {
            methods->GetSendInitialMetadata()->insert(
                {"from-interceptor", behaviour_.name});
          }
          break;
        case InterceptionHookPoints::POST_RECV_STATUS:
          if (behaviour_.changes_status) {
            *methods->GetRecvStatus() =
                grpc::Status(grpc::StatusCode::ABORTED, "by interceptor");
          }
          break;
        case InterceptionHookPoints::POST_RECV_INITIAL_METADATA:
          if (behaviour_.adds_metadata) {
            methods->GetRecvInitialMetadata()->insert({"inserted", "initial"});
          }
          break;
        case InterceptionHookPoints::PRE_RECV_MESSAGE:
          if (behaviour_.hijacks) {
            static_cast<Reply*>(methods->GetRecvMessage())
                ->set_payload("hijacked");
          }
          break;
        case InterceptionHookPoints::PRE_RECV_STATUS:
          if (behaviour_.hijacks) {
            methods->GetRecvTrailingMetadata()->insert({"by", "hijacker"});
            *methods->GetRecvStatus() = grpc::Status::OK;
          }
          break;
        default:
          break;
      }
    }
    if (hijack) {
      methods->Hijack();
    } else {
      methods->Proceed();
    }
  }

 private:
  const Behaviour behaviour_;
  HookLog* const log_;
};

class TestInterceptorFactory final : public ClientInterceptorFactoryInterface {
 public:
  TestInterceptorFactory(Behaviour behaviour, HookLog* log)
      : behaviour_(std::move(behaviour)), log_(log) {}
  Interceptor* CreateClientInterceptor(ClientRpcInfo* info) override {
    return new TestInterceptor(behaviour_, log_, info);
  }

 private:
  const Behaviour behaviour_;
  HookLog* const log_;
};

InterceptorFactories Factories(const std::vector<Behaviour>& behaviours,
                               HookLog* log) {
  InterceptorFactories factories;
  for (const Behaviour& behaviour : behaviours) {
    factories.push_back(
        std::make_unique<TestInterceptorFactory>(behaviour, log));
  }
  return factories;
}

class Intercepted : public testing::TestWithParam<Way> {
 protected:
  // Plays the scripts on channels with such interceptors and compares what the
  // application and what the interceptors saw.
  void Compare(const std::vector<Behaviour>& behaviours, const Script& on_bare,
               const Script& on_mesh) {
    Arms& arms = Arms::Get();
    HookLog bare_log;
    const Played bare =
        Play(on_bare, kind_, style_,
             arms.NewBare(Factories(behaviours, &bare_log)), arms.server());
    HookLog mesh_log;
    const Played mesh =
        Play(on_mesh, kind_, style_,
             arms.NewMesh(Factories(behaviours, &mesh_log)), arms.server());
    EXPECT_EQ(bare.trace, mesh.trace)
        << "bare:\n  " << absl::StrJoin(bare.trace, "\n  ") << "\nmesh:\n  "
        << absl::StrJoin(mesh.trace, "\n  ");
    std::vector<std::string> bare_hooks = bare_log.Take();
    std::vector<std::string> mesh_hooks = mesh_log.Take();
    // Hooks of different batches of a stream run on any of gRPC's threads.
    if (kind_ != Kind::kUnary || style_ == Style::kCallback ||
        style_ == Style::kGenericCallback ||
        style_ == Style::kTemplatedCallback) {
      std::sort(bare_hooks.begin(), bare_hooks.end());
      std::sort(mesh_hooks.begin(), mesh_hooks.end());
    }
    EXPECT_FALSE(bare_hooks.empty());
    EXPECT_EQ(bare_hooks, mesh_hooks);
    mesh_ = mesh;
  }

  Script Usual() {
    Script script;
    script.steps = UsualSteps(kind_);
    script.directives.set_replies(3);
    script.directives.set_echo(true);
    return script;
  }

  const Kind kind_ = GetParam().kind;
  const Style style_ = GetParam().style;
  Played mesh_;
};

TEST_P(Intercepted, HooksAreThoseOfABareChannel) {
  Compare({{"outer"}, {"inner"}}, Usual(), Usual());
}

TEST_P(Intercepted, HooksOfAnErrorAreThoseOfABareChannel) {
  Script script = Usual();
  script.directives.set_code(grpc::StatusCode::NOT_FOUND);
  Compare({{"only"}}, script, script);
}

TEST_P(Intercepted, MetadataAndStatusThatTheyChangeAreChanged) {
  Behaviour adds{"adds"};
  adds.adds_metadata = true;
  Behaviour changes{"changes"};
  changes.changes_status = true;
  Compare({adds, changes}, Usual(), Usual());
  EXPECT_EQ(mesh_.status.error_code(), grpc::StatusCode::ABORTED);
}

class InterceptedUnary : public Intercepted {};

TEST_P(InterceptedUnary, RetriesAreNotSeen) {
  Behaviour adds{"outer"};
  adds.adds_metadata = true;
  Script on_mesh = Usual();
  on_mesh.directives.set_fail_first(2);
  Compare({adds, {"inner"}}, Usual(), on_mesh);
  EXPECT_EQ(mesh_.executions, 3);
}

TEST_P(InterceptedUnary, HijackedCallsDoNotReachTheServer) {
  if (style_ == Style::kGenericAsync || style_ == Style::kGenericCallback ||
      style_ == Style::kGenericFunction) {
    GTEST_SKIP() << "this hijacker fills protobuf replies";
  }
  Behaviour hijacks{"hijacks"};
  hijacks.hijacks = true;
  Script script = Usual();
  script.debug_varies = true;
  script.received_varies = true;
  Compare({{"outer"}, hijacks, {"never"}}, script, script);
  EXPECT_TRUE(mesh_.status.ok());
  EXPECT_EQ(mesh_.executions, 0);
}

std::vector<Way> UnaryWays() {
  std::vector<Way> ways;
  for (const Way& way : AllWays()) {
    if (way.kind == Kind::kUnary) ways.push_back(way);
  }
  return ways;
}

INSTANTIATE_TEST_SUITE_P(All, InterceptedUnary, testing::ValuesIn(UnaryWays()),
                         testing::PrintToStringParamName());
INSTANTIATE_TEST_SUITE_P(All, Intercepted, testing::ValuesIn(AllWays()),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace mesh::test
