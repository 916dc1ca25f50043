#include "mesh/channel/send_buffer.h"

#include <string>

#include "grpcpp/support/slice.h"
#include "gtest/gtest.h"

namespace mesh::channel {
namespace {

grpc::ByteBuffer Bytes(size_t size) {
  const grpc::Slice slice(std::string(size, 'x'));
  return grpc::ByteBuffer(&slice, 1);
}

constexpr uint64_t kOverhead = SendBuffer::kOverhead;

TEST(SendBufferTest, KeepsMessagesInOrderAndKnowsWhichWereSent) {
  base::ByteBudget budget(1000);
  SendBuffer buffer(1000, &budget);
  EXPECT_TRUE(buffer.Add(Bytes(1), {}));
  buffer.MarkDone();
  EXPECT_TRUE(buffer.Add(Bytes(2), grpc::WriteOptions().set_no_compression()));
  ASSERT_EQ(buffer.messages().size(), 2u);
  EXPECT_EQ(buffer.done(), 1u);
  EXPECT_EQ(buffer.messages()[0].bytes.Length(), 1u);
  EXPECT_EQ(buffer.messages()[1].bytes.Length(), 2u);
  EXPECT_TRUE(buffer.messages()[1].options.get_no_compression());
  EXPECT_EQ(buffer.bytes(), 2 * kOverhead + 3);
}

TEST(SendBufferTest, KeepsNoMoreThanItsLimit) {
  base::ByteBudget budget(10000);
  SendBuffer buffer(100 + 2 * kOverhead, &budget);
  EXPECT_TRUE(buffer.Add(Bytes(100), {}));
  EXPECT_FALSE(buffer.Add(Bytes(1), {}));
  EXPECT_TRUE(buffer.Add(Bytes(0), {}));
  EXPECT_EQ(buffer.messages().size(), 2u);
}

TEST(SendBufferTest, MessagesWithoutBytesAreBoundedToo) {
  base::ByteBudget budget(1 << 20);
  SendBuffer buffer(10 * kOverhead, &budget);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(buffer.Add(Bytes(0), {}));
  EXPECT_FALSE(buffer.Add(Bytes(0), {}));
}

TEST(SendBufferTest, SharesWhatAllMayKeepAndGivesItBack) {
  base::ByteBudget budget(100 + kOverhead);
  SendBuffer one(1000, &budget);
  {
    SendBuffer other(1000, &budget);
    EXPECT_TRUE(other.Add(Bytes(70), {}));
    EXPECT_FALSE(one.Add(Bytes(31), {}));
  }
  EXPECT_EQ(budget.used(), 0u);
  EXPECT_TRUE(one.Add(Bytes(31), {}));
  one.Clear();
  EXPECT_EQ(budget.used(), 0u);
  EXPECT_TRUE(one.messages().empty());
}

}  // namespace
}  // namespace mesh::channel
