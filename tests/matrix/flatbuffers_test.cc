// Messages that are not protobuf: FlatBuffers through TemplatedGenericStub.
// That mesh never needs to know a message's type shows where calls are tried
// again.

#include "flatbuffers/flatbuffers.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "flatbuffers/grpc.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/base/mutex.h"
#include "tests/matrix/environment.h"

namespace mesh::test {
namespace {

// What flatc makes of `table Note { text: string; }`, in short.
struct Note final : private flatbuffers::Table {
  static constexpr flatbuffers::voffset_t kText = 4;
  const flatbuffers::String* text() const {
    return GetPointer<const flatbuffers::String*>(kText);
  }
  bool Verify(flatbuffers::Verifier& verifier) const {
    return VerifyTableStart(verifier) && VerifyOffset(verifier, kText) &&
           verifier.VerifyString(text()) && verifier.EndTable();
  }
};

using Message = flatbuffers::grpc::Message<Note>;
using Stub = grpc::TemplatedGenericStub<Message, Message>;

constexpr char kMethod[] = "/mesh.test.Raw/Echo";

Message MakeNote(const std::string& text) {
  flatbuffers::grpc::MessageBuilder builder;
  const auto string = builder.CreateString(text);
  const auto start = builder.StartTable();
  builder.AddOffset(Note::kText, string);
  builder.Finish(flatbuffers::Offset<Note>(builder.EndTable(start)));
  return builder.ReleaseMessage<Note>();
}

std::string TextOf(const Message& message) {
  std::vector<uint64_t> aligned(message.size() / sizeof(uint64_t) + 1);
  std::memcpy(aligned.data(), message.data(), message.size());
  const auto* const bytes = reinterpret_cast<const uint8_t*>(aligned.data());
  flatbuffers::Verifier verifier(bytes, message.size());
  if (!verifier.VerifyBuffer<Note>(nullptr)) return "not a note";
  return flatbuffers::GetRoot<Note>(bytes)->text()->str();
}

// How many executions fail before one succeeds, and the arm.
struct Params {
  bool mesh;
  int fail_first;
};

class FlatBuffers : public testing::TestWithParam<Params> {
 protected:
  FlatBuffers()
      : stub_(GetParam().mesh ? Arms::Get().Mesh(Flavour::kPlain)
                              : Arms::Get().Bare(Flavour::kPlain)) {
    static int calls = 0;
    Directives directives;
    directives.set_key(absl::StrCat("flat-", ++calls));
    directives.set_fail_first(GetParam().fail_first);
    context_.AddMetadata(kDirectivesKey, directives.SerializeAsString());
  }

  const std::string text_ = std::string(100000, 'f') + "end";
  Stub stub_;
  grpc::ClientContext context_;
};

TEST_P(FlatBuffers, UnaryOnACompletionQueue) {
  grpc::CompletionQueue queue;
  Message reply;
  grpc::Status status;
  {
    // Gone when the call is tried again.
    const Message request = MakeNote(text_);
    auto call = stub_.PrepareUnaryCall(&context_, kMethod, request, &queue);
    call->StartCall();
    call->Finish(&reply, &status, nullptr);
  }
  void* tag;
  bool ok;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_TRUE(ok);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(TextOf(reply), text_);
}

TEST_P(FlatBuffers, UnaryWithACallback) {
  const Message request = MakeNote(text_);
  Message reply;
  base::Mutex mu;
  base::CondVar changed;
  bool done = false;
  grpc::Status status;
  stub_.UnaryCall(&context_, kMethod, {}, &request, &reply,
                  [&](grpc::Status s) {
                    base::MutexLock lock(&mu);
                    status = s;
                    done = true;
                    changed.SignalAll();
                  });
  base::MutexLock lock(&mu);
  while (!done) changed.Wait(&mu);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(TextOf(reply), text_);
}

TEST_P(FlatBuffers, BidiStream) {
  if (GetParam().fail_first > 0) GTEST_SKIP() << "streams aren't retried";
  grpc::CompletionQueue queue;
  void* tag;
  bool ok = false;
  auto call = stub_.PrepareCall(&context_, kMethod, &queue);
  call->StartCall(nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  for (const char* text : {"one", "two"}) {
    call->Write(MakeNote(text), nullptr);
    ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
    Message reply;
    call->Read(&reply, nullptr);
    ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
    EXPECT_EQ(TextOf(reply), text);
  }
  call->WritesDone(nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  grpc::Status status;
  call->Finish(&status, nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  EXPECT_TRUE(status.ok()) << status.error_message();
}

INSTANTIATE_TEST_SUITE_P(Arms, FlatBuffers,
                         testing::Values(Params{false, 0}, Params{true, 0},
                                         Params{true, 2}),
                         [](const testing::TestParamInfo<Params>& info) {
                           return absl::StrCat(
                               info.param.mesh ? "Mesh" : "Bare",
                               info.param.fail_first > 0 ? "Retried" : "");
                         });

}  // namespace
}  // namespace mesh::test
