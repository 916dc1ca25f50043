// The call-style matrix: every kind of call, in every style that gRPC C++ has,
// through everything that can happen to a call. It is played on a bare
// grpc::Channel and on a mesh channel. What the application sees must be the
// same.
//
// A failure's name is the filter that runs it again:
//   bazel test //tests/matrix:matrix_test
//       --test_arg=--gtest_filter='*/Matrix.*/Bidi_Callback_ServerError'

#include <chrono>
#include <functional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "tests/matrix/environment.h"
#include "tests/matrix/script.h"

namespace mesh::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::system_clock;

struct Case {
  const char* name;
  // Fills in what is to be played. The steps are the usual ones before.
  void (*write)(Kind kind, Style style, Script* script);
  grpc::StatusCode expected = grpc::StatusCode::OK;
  Flavour flavour = Flavour::kPlain;
  // Which combinations it makes sense for. Null: all.
  bool (*fits)(Kind kind, Style style) = nullptr;
};

Header MakeHeader(const std::string& key, const std::string& value) {
  Header header;
  header.set_key(key);
  header.set_value(value);
  return header;
}

// Replies, where the server streams, as many as the client sends.
void Replies(Script* script) { script->directives.set_replies(3); }

void InsertAfterStart(Script* script, Step step) {
  script->steps.insert(script->steps.begin() + 1, std::move(step));
}

// The server is to be found waiting when the call is cancelled or late.
void ServerWaits(Script* script) {
  script->directives.set_sleep_ms(20000);
  script->writes_may_fail = true;
}

// The context's deadline is `left` from now.
auto Deadline(milliseconds left) {
  return [left](grpc::ClientContext* context) {
    context->set_deadline(system_clock::now() + left);
  };
}

class RefusingPlugin final : public grpc::MetadataCredentialsPlugin {
 public:
  grpc::Status GetMetadata(
      grpc::string_ref, grpc::string_ref, const grpc::AuthContext&,
      std::multimap<grpc::string, grpc::string>*) override {
    return grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "no token");
  }
};

// Tells the server for which URL and method it was asked.
class TellingPlugin final : public grpc::MetadataCredentialsPlugin {
 public:
  grpc::Status GetMetadata(
      grpc::string_ref url, grpc::string_ref method, const grpc::AuthContext&,
      std::multimap<grpc::string, grpc::string>* metadata) override {
    metadata->insert(
        {"token-for",
         absl::StrCat(absl::string_view(url.data(), url.size()), " ",
                      absl::string_view(method.data(), method.size()))});
    return grpc::Status::OK;
  }
};

// Makes its credentials once: gRPC destroys a plugin on any of its threads.
template <typename Plugin>
void SetCredentials(grpc::ClientContext* context) {
  static const auto* const credentials =
      new std::shared_ptr<grpc::CallCredentials>(
          grpc::MetadataCredentialsFromPlugin(std::make_unique<Plugin>()));
  context->set_credentials(*credentials);
}

const std::vector<Case>& AllCases() {  // Table.
  static const auto* const cases = new std::vector<Case>{
      {"Ok", [](Kind, Style, Script* s) { s->directives.set_echo(true); }},
      {"OkDirectivesInRequest",
       [](Kind, Style, Script* s) {
         s->directives.set_echo(true);
         s->directives_in_metadata = false;
       }},
      {"EmptyMessages",
       [](Kind kind, Style, Script* s) {
         s->steps = UsualSteps(kind, {"", "", ""});
       }},
      {"NoMessages",
       [](Kind kind, Style, Script* s) {
         s->steps = UsualSteps(kind, {});
         s->directives.set_replies(0);
       }},
      {"ServerError",
       [](Kind, Style, Script* s) {
         s->directives.set_code(grpc::StatusCode::NOT_FOUND);
         s->directives.set_message("no cart: 50% na\xc3\xafve\n\ttab");
       },
       grpc::StatusCode::NOT_FOUND},
      {"ErrorWithDetails",
       [](Kind, Style, Script* s) {
         s->directives.set_code(grpc::StatusCode::FAILED_PRECONDITION);
         s->directives.set_message("details");
         s->directives.set_details(std::string("\0\1\xff binary", 10));
         *s->directives.add_trailing_metadata() = MakeHeader("why", "because");
       },
       grpc::StatusCode::FAILED_PRECONDITION},
      {"ErrorWithEmptyMessage",
       [](Kind, Style, Script* s) {
         s->directives.set_code(grpc::StatusCode::DATA_LOSS);
       },
       grpc::StatusCode::DATA_LOSS},
      {"TrailersOnly",
       [](Kind kind, Style, Script* s) {
         s->directives.set_fail_share(1);
         s->directives.set_code(grpc::StatusCode::ABORTED);
         *s->directives.add_trailing_metadata() =
             MakeHeader("why-bin", std::string("\0\1", 2));
         s->writes_may_fail = true;
       },
       grpc::StatusCode::ABORTED},
      {"Unavailable",  // What is tried until there are no attempts left.
       [](Kind, Style, Script* s) {
         s->directives.set_fail_share(1);
         s->directives.set_message("down for today");
         s->directives.set_details("details");
         *s->directives.add_trailing_metadata() = MakeHeader("until", "six");
         s->writes_may_fail = true;
       },
       grpc::StatusCode::UNAVAILABLE},
      {"UnavailableAfterInitialMetadata",  // An answer has begun.
       [](Kind kind, Style, Script* s) {
         s->directives.set_fail_share(1);
         s->directives.set_initial_metadata_first(true);
         *s->directives.add_initial_metadata() = MakeHeader("first", "1");
         s->writes_may_fail = true;
       },
       grpc::StatusCode::UNAVAILABLE},
      {"UnavailableDoNotRetry",
       [](Kind, Style, Script* s) {
         s->directives.set_fail_share(1);
         s->directives.set_pushback_ms("-1");
         s->writes_may_fail = true;
       },
       grpc::StatusCode::UNAVAILABLE},
      {"NobodyListens",
       [](Kind, Style, Script* s) {
         s->message_varies = true;
         s->writes_may_fail = true;
       },
       grpc::StatusCode::UNAVAILABLE, Flavour::kDead},

      // --- Cancellation and deadlines.
      {"CancelBeforeStart",
       [](Kind, Style, Script* s) {
         s->steps.insert(s->steps.begin(), {Step::kCancel});
         s->writes_may_fail = true;
         s->message_varies = true;
       },
       grpc::StatusCode::CANCELLED},
      {"CancelAfterStart",
       [](Kind, Style, Script* s) {
         ServerWaits(s);
         InsertAfterStart(s, {Step::kCancel});
         s->message_varies = true;
       },
       grpc::StatusCode::CANCELLED},
      {"CancelWhenExecuting",
       [](Kind, Style, Script* s) {
         ServerWaits(s);
         s->steps.insert(s->steps.begin(), {Step::kCancelWhenExecuting});
         s->message_varies = true;
       },
       grpc::StatusCode::CANCELLED},
      {"CancelAfterReply",
       [](Kind kind, Style, Script* s) {
         s->directives.set_reply_interval_ms(20000);
         s->writes_may_fail = true;
         s->message_varies = true;
         s->steps = {{Step::kStart}};
         if (kind == Kind::kBidi) s->steps.push_back({Step::kWrite, "one"});
         s->steps.insert(s->steps.end(), {{Step::kRead},
                                          {Step::kCancel},
                                          {Step::kReadAll},
                                          {Step::kFinish}});
       },
       grpc::StatusCode::CANCELLED, Flavour::kPlain,
       [](Kind kind, Style) { return Reads(kind); }},
      {"ServerCancels",
       [](Kind, Style, Script* s) {
         s->directives.set_cancel(true);
         s->message_varies = true;
         s->received_varies = true;
       },
       grpc::StatusCode::CANCELLED},
      {"DeadlineBeforeStart",
       [](Kind, Style, Script* s) {
         s->prepare = Deadline(milliseconds(-1000));
         s->writes_may_fail = true;
         s->message_varies = true;
       },
       grpc::StatusCode::DEADLINE_EXCEEDED},
      {"DeadlineInThePast",
       [](Kind, Style, Script* s) {
         s->prepare = [](grpc::ClientContext* context) {
           context->set_deadline(gpr_inf_past(GPR_CLOCK_REALTIME));
         };
         s->writes_may_fail = true;
         s->message_varies = true;
       },
       grpc::StatusCode::DEADLINE_EXCEEDED},
      {"DeadlineDuring",
       [](Kind, Style, Script* s) {
         ServerWaits(s);
         s->prepare = Deadline(milliseconds(30));
         s->message_varies = true;
       },
       grpc::StatusCode::DEADLINE_EXCEEDED},
      {"DeadlineFar",
       [](Kind, Style, Script* s) {
         s->directives.set_echo(true);
         s->prepare = Deadline(std::chrono::hours(1));
       }},
      {"DeadlineNever",
       [](Kind, Style, Script* s) {
         s->directives.set_echo(true);
         s->prepare = [](grpc::ClientContext* context) {
           context->set_deadline(gpr_inf_future(GPR_CLOCK_REALTIME));
         };
       }},

      // --- Messages.
      {"LargeMessages",
       [](Kind kind, Style, Script* s) {
         const std::string large(700000, 'm');
         s->steps = UsualSteps(kind, {large, large});
         s->directives.set_reply_bytes(900000);
       }},
      {"ReplyOverLimit",
       [](Kind, Style, Script* s) {
         s->directives.set_reply_bytes(2 * kSmallMessage);
         s->writes_may_fail = true;
       },
       grpc::StatusCode::RESOURCE_EXHAUSTED, Flavour::kSmallMessages},
      {"RequestOverLimit",
       [](Kind kind, Style, Script* s) {
         s->steps = UsualSteps(kind, {std::string(2 * kSmallMessage, 'm')});
         s->debug_varies = true;  // gRPC has two ways to fail it.
         s->writes_may_fail = true;
       },
       grpc::StatusCode::RESOURCE_EXHAUSTED, Flavour::kSmallMessages},
      {"RequestOverServersLimit",
       [](Kind kind, Style, Script* s) {
         s->steps = UsualSteps(kind, {std::string(5 << 20, 'm')});
         s->writes_may_fail = true;
         s->message_varies = true;
       },
       grpc::StatusCode::RESOURCE_EXHAUSTED},
      {"Gzip",
       [](Kind kind, Style, Script* s) {
         s->prepare = [](grpc::ClientContext* context) {
           context->set_compression_algorithm(GRPC_COMPRESS_GZIP);
         };
         s->directives.set_compression("gzip");
         s->directives.set_echo(true);
         const std::string text(5000, 't');
         s->steps = UsualSteps(kind, {text, text});
       }},
      {"DeflateButNotThisMessage",
       [](Kind kind, Style, Script* s) {
         s->prepare = [](grpc::ClientContext* context) {
           context->set_compression_algorithm(GRPC_COMPRESS_DEFLATE);
         };
         s->directives.set_echo(true);
         const std::string text(5000, 't');
         s->steps = UsualSteps(kind, {text, text});
         for (Step& step : s->steps) step.options.set_no_compression();
       }},
      {"GzipByDefault",
       [](Kind kind, Style, Script* s) {
         s->directives.set_echo(true);
         const std::string text(5000, 't');
         s->steps = UsualSteps(kind, {text, text});
       },
       grpc::StatusCode::OK, Flavour::kGzip},
      {"BufferHint",
       [](Kind kind, Style, Script* s) {
         s->steps = UsualSteps(kind);
         // Not before a read that waits for the answer.
         s->steps = {{Step::kStart}};
         for (const char* payload : {"a", "b", "c"}) {
           s->steps.push_back({Step::kWrite, payload,
                               grpc::WriteOptions().set_buffer_hint()});
         }
         s->steps.push_back({Step::kWrite, "d",
                             grpc::WriteOptions().set_write_through()});
         s->steps.push_back({Step::kWritesDone});
         if (Reads(kind)) s->steps.push_back({Step::kReadAll});
         s->steps.push_back({Step::kFinish});
       },
       grpc::StatusCode::OK, Flavour::kPlain,
       [](Kind kind, Style) { return Writes(kind); }},
      {"LastMessage",  // Half-closes with the last write.
       [](Kind kind, Style, Script* s) {
         s->steps = {{Step::kStart},
                     {Step::kWrite, "a"},
                     {Step::kWrite, "b",
                      grpc::WriteOptions().set_last_message()}};
         if (Reads(kind)) s->steps.push_back({Step::kReadAll});
         s->steps.push_back({Step::kFinish});
       },
       grpc::StatusCode::OK, Flavour::kPlain,
       [](Kind kind, Style) { return Writes(kind); }},
      {"HalfCloseBeforeReading",
       [](Kind kind, Style, Script* s) {
         s->steps = {{Step::kStart},
                     {Step::kWrite, "a"},
                     {Step::kWrite, "b"},
                     {Step::kWritesDone},
                     {Step::kReadAll},
                     {Step::kFinish}};
       },
       grpc::StatusCode::OK, Flavour::kPlain,
       [](Kind kind, Style) { return kind == Kind::kBidi; }},
      {"ServerEndsEarly",
       [](Kind kind, Style, Script* s) {
         s->directives.set_end_after(1);
         s->directives.set_code(grpc::StatusCode::OUT_OF_RANGE);
         s->directives.set_message("enough");
         s->writes_may_fail = true;
         s->steps = {{Step::kStart}};
         for (int i = 0; i < 20; ++i) {
           s->steps.push_back({Step::kWrite, std::string(1000, 'w')});
         }
         s->steps.push_back({Step::kWritesDone});
         if (Reads(kind)) s->steps.push_back({Step::kReadAll});
         s->steps.push_back({Step::kFinish});
       },
       grpc::StatusCode::OUT_OF_RANGE, Flavour::kPlain,
       [](Kind kind, Style) { return Writes(kind); }},
      {"ServerEndsUnread",
       [](Kind kind, Style, Script* s) {
         s->directives.set_end_after(-1);
         s->writes_may_fail = true;
       },
       grpc::StatusCode::OK, Flavour::kPlain,
       [](Kind kind, Style) { return Writes(kind); }},
      {"ReadsAfterTheEnd",
       [](Kind kind, Style, Script* s) {
         s->steps.insert(s->steps.end() - 1, {{Step::kRead}, {Step::kRead}});
       },
       grpc::StatusCode::OK, Flavour::kPlain,
       [](Kind kind, Style) { return Reads(kind); }},

      // --- Metadata.
      {"Metadata",
       [](Kind, Style, Script* s) {
         s->directives.set_echo(true);
         s->prepare = [](grpc::ClientContext* context) {
           context->AddMetadata("zebra", "ascii");
           context->AddMetadata("two", "first");
           context->AddMetadata("two", "second");
           context->AddMetadata("empty", "");
           context->AddMetadata("raw-bin", std::string("\0\1\xfe\xff", 4));
           context->AddMetadata("large", std::string(1500, 'l'));
         };
         Directives& d = s->directives;
         for (auto add : {&Directives::add_initial_metadata,
                           &Directives::add_trailing_metadata}) {
           *(d.*add)() = MakeHeader("z", "ascii");
           *(d.*add)() = MakeHeader("twice", "first");
           *(d.*add)() = MakeHeader("twice", "second");
           *(d.*add)() = MakeHeader("bytes-bin", std::string("\0\xff\n", 3));
           *(d.*add)() = MakeHeader("bytes-bin", "");
           *(d.*add)() = MakeHeader("big", std::string(1500, 'b'));
         }
       }},
      {"ReadInitialMetadata",
       [](Kind, Style, Script* s) {
         *s->directives.add_initial_metadata() = MakeHeader("early", "bird");
         s->directives.set_initial_metadata_first(true);
         s->directives.set_sleep_ms(5);
         InsertAfterStart(s, {Step::kReadInitialMetadata});
       },
       grpc::StatusCode::OK, Flavour::kPlain, CanReadInitialMetadata},
      {"ReadInitialMetadataOfTrailersOnly",
       [](Kind, Style, Script* s) {
         s->directives.set_fail_share(1);
         s->directives.set_code(grpc::StatusCode::UNIMPLEMENTED);
         s->writes_may_fail = true;
         InsertAfterStart(s, {Step::kReadInitialMetadata});
       },
       grpc::StatusCode::UNIMPLEMENTED, Flavour::kPlain,
       CanReadInitialMetadata},
      {"ReadInitialMetadataOfNobody",
       [](Kind, Style, Script* s) {
         s->writes_may_fail = true;
         s->message_varies = true;
         InsertAfterStart(s, {Step::kReadInitialMetadata});
       },
       grpc::StatusCode::UNAVAILABLE, Flavour::kDead, CanReadInitialMetadata},
      {"Corked",
       [](Kind, Style, Script* s) {
         s->cork = true;
         s->directives.set_echo(true);
       }},
      {"CorkedHalfClose",
       [](Kind kind, Style, Script* s) {
         s->cork = true;
         s->steps = {{Step::kStart},
                     {Step::kWrite, "all",
                      grpc::WriteOptions().set_last_message()}};
         if (Reads(kind)) s->steps.push_back({Step::kReadAll});
         s->steps.push_back({Step::kFinish});
       },
       grpc::StatusCode::OK, Flavour::kPlain,
       [](Kind kind, Style) { return Writes(kind); }},
      {"CorkedNobodyListens",
       [](Kind, Style, Script* s) {
         s->cork = true;
         s->writes_may_fail = true;
         s->message_varies = true;
       },
       grpc::StatusCode::UNAVAILABLE, Flavour::kDead},
      {"CorkedThenCancelled",
       [](Kind, Style, Script* s) {
         s->cork = true;
         InsertAfterStart(s, {Step::kCancel});
         s->writes_may_fail = true;
         s->message_varies = true;
       },
       grpc::StatusCode::CANCELLED, Flavour::kPlain,
       [](Kind kind, Style) { return Writes(kind); }},

      // --- The context.
      {"WaitForReady",
       [](Kind, Style, Script* s) {
         s->prepare = [](grpc::ClientContext* context) {
           context->set_wait_for_ready(true);
         };
       }},
      {"WaitForReadyUntilDeadline",
       [](Kind, Style, Script* s) {
         s->prepare = [](grpc::ClientContext* context) {
           context->set_wait_for_ready(true);
           context->set_deadline(system_clock::now() + milliseconds(30));
         };
         s->writes_may_fail = true;
         s->message_varies = true;
       },
       grpc::StatusCode::DEADLINE_EXCEEDED, Flavour::kDead},
      {"WaitForReadyUntilCancelled",
       [](Kind, Style, Script* s) {
         s->prepare = [](grpc::ClientContext* context) {
           context->set_wait_for_ready(true);
         };
         // Nothing completes before, so not after the start of every style.
         s->steps.insert(s->steps.begin(), {Step::kCancelSoon});
         s->writes_may_fail = true;
         s->message_varies = true;
       },
       grpc::StatusCode::CANCELLED, Flavour::kDead},
      {"Authority",
       [](Kind, Style, Script* s) {
         s->directives.set_echo(true);
         s->prepare = [](grpc::ClientContext* context) {
           context->set_authority("other.example:443");
         };
       }},
      {"CallCredentials",
       [](Kind, Style, Script* s) {
         s->directives.set_echo(true);
         s->prepare = SetCredentials<TellingPlugin>;
       },
       grpc::StatusCode::OK, Flavour::kLocal},
      {"CallCredentialsRefused",
       [](Kind, Style, Script* s) {
         s->prepare = SetCredentials<RefusingPlugin>;
         s->debug_varies = true;
         s->writes_may_fail = true;
       },
       grpc::StatusCode::UNAVAILABLE, Flavour::kLocal},
      {"CallCredentialsInPlaintext",
       [](Kind, Style, Script* s) {
         s->prepare = SetCredentials<TellingPlugin>;
         s->debug_varies = true;
         s->writes_may_fail = true;
       },
       grpc::StatusCode::UNAUTHENTICATED},
  };
  return *cases;
}

std::string Lines(const Trace& trace) {
  return absl::StrCat("\n  ", absl::StrJoin(trace, "\n  "));
}

struct Combination {
  Kind kind;
  Style style;
  const Case* what;
};

void PrintTo(const Combination& c, std::ostream* out) {
  *out << Name(c.kind) << "_" << Name(c.style) << "_" << c.what->name;
}

std::vector<Combination> AllCombinations() {
  std::vector<Combination> all;
  for (const auto& [kind, style] : AllWays()) {
    for (const Case& c : AllCases()) {
      if (c.fits == nullptr || c.fits(kind, style)) {
        all.push_back({kind, style, &c});
      }
    }
  }
  return all;
}

class Matrix : public testing::TestWithParam<Combination> {
 protected:
  Script MakeScript() {
    const auto& [kind, style, what] = GetParam();
    Script script;
    script.steps = UsualSteps(kind);
    Replies(&script);
    what->write(kind, style, &script);
    return script;
  }
};

TEST_P(Matrix, LooksLikeABareChannel) {
  const auto& [kind, style, what] = GetParam();
  Arms& arms = Arms::Get();
  const Script script = MakeScript();

  const Played bare =
      Play(script, kind, style, arms.Bare(what->flavour), arms.server());
  const Played mesh =
      Play(script, kind, style, arms.Mesh(what->flavour), arms.server());

  EXPECT_EQ(bare.status.error_code(), what->expected) << Lines(bare.trace);
  EXPECT_EQ(bare.trace, mesh.trace)
      << "bare:" << Lines(bare.trace) << "\nmesh:" << Lines(mesh.trace);
  if (script.directives.initial_metadata_first()) {
    // Whether the call could still be tried again depends on the style.
  } else if (script.directives.fail_share() > 0 &&
             script.directives.code() == grpc::StatusCode::OK &&
             script.directives.pushback_ms().empty()) {
    EXPECT_EQ(mesh.executions, kMaxAttempts);
  } else if (what->expected == grpc::StatusCode::OK ||
             script.directives.fail_share() > 0) {
    EXPECT_EQ(mesh.executions, bare.executions);
  }
}

// A call whose first attempts fail looks like one on a bare channel to a
// server that doesn't fail.
class Retried : public Matrix {};

TEST_P(Retried, LooksLikeABareChannelToAGoodServer) {
  const auto& [kind, style, what] = GetParam();
  Arms& arms = Arms::Get();
  Script script = MakeScript();

  const Played bare =
      Play(script, kind, style, arms.Bare(what->flavour), arms.server());
  script.directives.set_fail_first(kMaxAttempts - 1);
  script.directives.set_message("to be forgotten");
  script.directives.set_details("to be forgotten");
  // It is chance whether a message comes before its headers are asked for, and
  // of those that are compressed the core would then not know how.
  const bool compressed = what->name == std::string("Gzip");
  const int plays = compressed && style == Style::kEarlyFinish ? 30 : 1;
  for (int i = 0; i < plays; ++i) {
    const Played mesh =
        Play(script, kind, style, arms.Mesh(what->flavour), arms.server());
    EXPECT_EQ(mesh.executions, kMaxAttempts);
    EXPECT_EQ(bare.trace, mesh.trace)
        << "bare:" << Lines(bare.trace) << "\nmesh:" << Lines(mesh.trace);
  }
}

// A bidi stream (as all that GenericStub makes are) that only waits for an
// answer is not sent again when that is much.
bool TooMuch(const Combination& c) {
  const bool bidi =
      c.kind == Kind::kBidi ||
      (c.kind != Kind::kUnary &&
       (c.style == Style::kGenericAsync || c.style == Style::kTemplatedAsync));
  return bidi && c.what->name == std::string("LargeMessages");
}

std::vector<Combination> RetriedCombinations() {
  std::vector<Combination> retried;
  for (const Combination& c : AllCombinations()) {
    if (c.what->expected == grpc::StatusCode::OK && !TooMuch(c) &&
        c.what->name != std::string("ReadInitialMetadata")) {
      retried.push_back(c);
    }
  }
  return retried;
}

// A unary call whose first attempt hangs looks like one on a bare channel to a
// server that doesn't: a hedge has answered it.
class Hedged : public Matrix {};

TEST_P(Hedged, LooksLikeABareChannelToAServerThatAnswers) {
  const auto& [kind, style, what] = GetParam();
  Arms& arms = Arms::Get();
  Script script = MakeScript();

  const Played bare =
      Play(script, kind, style, arms.Bare(what->flavour), arms.server());
  script.directives.set_sleep_ms(20000);
  script.directives.set_sleep_first(1);
  const Played mesh =
      Play(script, kind, style, arms.Hedged(what->flavour), arms.server());

  EXPECT_GE(mesh.executions, 2);
  EXPECT_EQ(bare.trace, mesh.trace)
      << "bare:" << Lines(bare.trace) << "\nmesh:" << Lines(mesh.trace);
}

// Hedges are begun, and an attempt that fails while others run is not the end.
TEST_P(Hedged, LooksLikeABareChannelWhenSomeFailAndSomeHang) {
  const auto& [kind, style, what] = GetParam();
  if (what->name == std::string("ReadInitialMetadata")) {
    GTEST_SKIP() << "who has had initial metadata gets that attempt's failure";
  }
  Arms& arms = Arms::Get();
  Script script = MakeScript();

  const Played bare =
      Play(script, kind, style, arms.Bare(what->flavour), arms.server());
  script.directives.set_sleep_ms(10);
  script.directives.set_sleep_first(kMaxAttempts - 1);
  script.directives.set_fail_first(kMaxAttempts - 1);
  script.directives.set_message("to be forgotten");
  const Played mesh =
      Play(script, kind, style, arms.Hedged(what->flavour), arms.server());

  EXPECT_EQ(mesh.executions, kMaxAttempts);
  EXPECT_EQ(bare.trace, mesh.trace)
      << "bare:" << Lines(bare.trace) << "\nmesh:" << Lines(mesh.trace);
}

std::vector<Combination> HedgedCombinations() {
  std::vector<Combination> hedged;
  for (const Combination& c : AllCombinations()) {
    if (c.kind != Kind::kUnary || c.what->expected != grpc::StatusCode::OK) {
      continue;
    }
    // gRPC's reactor asks the first attempt whether there is initial metadata.
    const bool reactor = c.style == Style::kCallback ||
                         c.style == Style::kGenericCallback ||
                         c.style == Style::kTemplatedCallback;
    if (reactor && c.what->name == std::string("ReadInitialMetadata")) continue;
    hedged.push_back(c);
  }
  return hedged;
}

INSTANTIATE_TEST_SUITE_P(All, Hedged, testing::ValuesIn(HedgedCombinations()),
                         testing::PrintToStringParamName());
INSTANTIATE_TEST_SUITE_P(All, Matrix, testing::ValuesIn(AllCombinations()),
                         testing::PrintToStringParamName());
INSTANTIATE_TEST_SUITE_P(All, Retried, testing::ValuesIn(RetriedCombinations()),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace mesh::test
