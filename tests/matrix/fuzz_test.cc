// Random scripts, the same on a bare channel and on mesh. A failing seed is in
// the test's name.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "mesh/base/random.h"
#include "tests/matrix/environment.h"
#include "tests/matrix/script.h"

namespace mesh::test {
namespace {

using base::Random;

constexpr int kSeeds = 300;

template <typename T>
const T& OneOf(const std::vector<T>& choices, Random* random) {
  return choices[random->Below(choices.size())];
}

bool Chance(int percent, Random* random) {
  return random->Below(100) < static_cast<uint32_t>(percent);
}

std::string RandomPayload(Random* random) {
  const size_t size = OneOf<size_t>({0, 1, 10, 1000, 70000}, random);
  return std::string(size, static_cast<char>('a' + random->Below(26)));
}

void RandomHeaders(Random* random,
                   google::protobuf::RepeatedPtrField<Header>* headers) {
  const int n = random->Below(4);
  for (int i = 0; i < n; ++i) {
    Header* header = headers->Add();
    const bool binary = Chance(50, random);
    header->set_key(absl::StrCat("h", random->Below(3), binary ? "-bin" : ""));
    header->set_value(binary ? std::string(random->Below(20), '\xfe')
                             : std::string(random->Below(20), 'v'));
  }
}

Script RandomScript(Kind kind, Style style, Random* random) {
  Script script;
  Directives& directives = script.directives;

  // How it ends.
  int writes = Writes(kind) ? random->Below(6) : 0;
  int answered = writes;  // Requests that a bidi stream answers.
  switch (random->Below(5)) {
    case 0:
    case 1:
      break;
    case 2:
      directives.set_code(1 + random->Below(16));
      // Would be tried again.
      if (directives.code() == grpc::StatusCode::UNAVAILABLE) {
        directives.set_code(grpc::StatusCode::UNKNOWN);
      }
      directives.set_message("the end");
      directives.set_details(std::string(random->Below(10), '\0'));
      break;
    case 3:
      directives.set_fail_share(1);
      directives.set_code(grpc::StatusCode::INTERNAL);
      script.writes_may_fail = true;
      answered = 0;
      break;
    case 4:
      if (!Writes(kind)) break;
      directives.set_end_after(1 + random->Below(4));
      directives.set_code(Chance(50, random) ? grpc::StatusCode::ABORTED
                                             : grpc::StatusCode::OK);
      script.writes_may_fail = true;
      answered = std::min(answered, directives.end_after() - 1);
      break;
  }
  directives.set_echo(Chance(50, random));
  directives.set_replies(random->Below(5));
  directives.set_reply_bytes(OneOf<int>({0, 0, 10, 5000, 100000}, random));
  directives.set_sleep_ms(random->Below(3));
  directives.set_initial_metadata_first(Chance(50, random));
  directives.set_compression(
      OneOf<std::string>({"", "", "gzip", "deflate"}, random));
  RandomHeaders(random, directives.mutable_initial_metadata());
  RandomHeaders(random, directives.mutable_trailing_metadata());
  script.cork = Chance(20, random) && (!Writes(kind) || writes > 0);
  const int compression = random->Below(4);
  const int headers = random->Below(3);
  script.prepare = [compression, headers](grpc::ClientContext* context) {
    if (compression == 1)
      context->set_compression_algorithm(GRPC_COMPRESS_GZIP);
    for (int i = 0; i < headers; ++i) {
      context->AddMetadata("same", absl::StrCat("value ", i));
    }
  };

  // What is done.
  std::vector<Step>& steps = script.steps;
  steps.push_back({Step::kStart, RandomPayload(random)});
  // It arrives without our doing anything.
  if (directives.initial_metadata_first() && kind != Kind::kUnary &&
      directives.fail_share() == 0 && !script.cork &&
      CanReadInitialMetadata(kind, style) && Chance(40, random)) {
    steps.push_back({Step::kReadInitialMetadata});
  }
  int to_read = 0;
  bool closed = false;
  for (int i = 0; i < writes; ++i) {
    Step write{Step::kWrite, RandomPayload(random)};
    if (i == writes - 1 && Chance(30, random)) {
      write.options.set_last_message();
      closed = true;
    }
    if (Chance(20, random)) write.options.set_no_compression();
    if (Chance(20, random)) write.options.set_write_through();
    steps.push_back(write);
    if (kind == Kind::kBidi && i < answered) ++to_read;
    while (to_read > 0 && Chance(50, random)) {
      steps.push_back({Step::kRead});
      --to_read;
    }
  }
  if (Writes(kind) && !closed) steps.push_back({Step::kWritesDone});
  if (Chance(15, random)) {
    steps.insert(steps.begin() + random->Below(steps.size() + 1),
                 {Chance(50, random) ? Step::kCancel : Step::kCancelSoon});
    script.writes_may_fail = true;
    script.message_varies = true;
    script.received_varies = true;
  }
  if (Reads(kind)) steps.push_back({Step::kReadAll});
  steps.push_back({Step::kFinish});
  return script;
}

bool Cancels(const Script& script) {
  for (const Step& step : script.steps) {
    if (step.what == Step::kCancel || step.what == Step::kCancelSoon) {
      return true;
    }
  }
  return false;
}

class Fuzz : public testing::TestWithParam<int> {};

TEST_P(Fuzz, RandomScriptsLookLikeOnABareChannel) {
  Random random(GetParam());
  Arms& arms = Arms::Get();
  const auto [kind, style] = OneOf(AllWays(), &random);
  const Script script = RandomScript(kind, style, &random);
  Script on_mesh = script;
  // (Once a reactor has had initial metadata it is too late to try again.)
  if (kind == Kind::kUnary && script.directives.code() == 0 &&
      !script.directives.initial_metadata_first() && Chance(40, &random)) {
    on_mesh.directives.set_fail_first(1 + random.Below(kMaxAttempts - 1));
  }

  const Played bare =
      Play(script, kind, style, arms.Bare(Flavour::kPlain), arms.server());
  const Played mesh =
      Play(on_mesh, kind, style, arms.Mesh(Flavour::kPlain), arms.server());

  // A call that is cancelled may also end as it would have.
  if (Cancels(script)) {
    const auto code = mesh.status.error_code();
    EXPECT_TRUE(code == grpc::StatusCode::CANCELLED ||
                code == bare.status.error_code() ||
                code == script.directives.code())
        << Name(kind) << " " << Name(style) << "\n  "
        << absl::StrJoin(mesh.trace, "\n  ");
    return;
  }
  EXPECT_EQ(bare.trace, mesh.trace)
      << Name(kind) << " " << Name(style) << "\nbare:\n  "
      << absl::StrJoin(bare.trace, "\n  ") << "\nmesh:\n  "
      << absl::StrJoin(mesh.trace, "\n  ");
}

INSTANTIATE_TEST_SUITE_P(Seeds, Fuzz, testing::Range(0, kSeeds));

}  // namespace
}  // namespace mesh::test
