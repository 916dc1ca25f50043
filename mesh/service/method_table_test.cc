#include "mesh/service/method_table.h"

#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/grpc/core_queue.h"
#include "tests/support/test_service.pb.h"

namespace mesh::service {
namespace {

std::string PathOf(const Method& method) {
  return std::string(
      reinterpret_cast<const char*>(GRPC_SLICE_START_PTR(method.path)),
      GRPC_SLICE_LENGTH(method.path));
}

class MethodTableTest : public ::testing::Test {
 protected:
  telemetry::ServiceMetrics metrics_{"cart", /*max_methods=*/10};
  MethodTable table_{&metrics_};
};

TEST_F(MethodTableTest, RegistersAMethodOnce) {
  EXPECT_EQ(table_.Find("/shop.Cart/Get"), nullptr);
  const auto [method, added] = table_.Register("/shop.Cart/Get");
  EXPECT_TRUE(added);
  EXPECT_EQ(method->name, "/shop.Cart/Get");
  EXPECT_EQ(PathOf(*method), "/shop.Cart/Get");
  EXPECT_EQ(table_.MetricsOf(method), metrics_.Method("/shop.Cart/Get", true));
  EXPECT_EQ(table_.Register("/shop.Cart/Get"),
            (std::pair<Method*, bool>(method, false)));
  EXPECT_EQ(table_.Find("/shop.Cart/Get"), method);
}

TEST_F(MethodTableTest, TablesShareTheNamesOfMethods) {
  std::string name = "/shop.Cart/Share";
  MethodTable other(&metrics_);
  const Method* const one = table_.Register(name).first;
  const Method* const two = other.Register(name).first;
  name.assign(name.size(), 'x');
  EXPECT_NE(one, two);
  EXPECT_EQ(one->name, "/shop.Cart/Share");
  EXPECT_EQ(one->name.data(), two->name.data());
  EXPECT_EQ(PathOf(*one), "/shop.Cart/Share");
}

TEST_F(MethodTableTest, CountsMethodsInTheOrderOfTheirRegistration) {
  for (const char* name : {"/a.A/A", "/b.B/B", "/a.A/A", "/c.C/C"}) {
    table_.Register(name);
  }
  const std::vector<const upstream::Method*> methods = table_.ByIndex();
  ASSERT_EQ(methods.size(), 3);
  const std::vector<std::string> names = {"/a.A/A", "/b.B/B", "/c.C/C"};
  for (size_t i = 0; i < methods.size(); ++i) {
    EXPECT_EQ(methods[i]->index, i);
    EXPECT_EQ(methods[i]->name, names[i]);
  }
}

TEST_F(MethodTableTest, ThreadsThatRegisterAtOnceGetOneMethod) {
  constexpr int kNames = 50;
  std::vector<std::vector<Method*>> seen(4);
  std::vector<std::thread> threads;
  for (std::vector<Method*>& mine : seen) {
    threads.emplace_back([this, &mine] {
      for (int i = 0; i < kNames; ++i) {
        mine.push_back(table_.Register("/a.A/" + std::to_string(i)).first);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<Method*>& mine : seen) EXPECT_EQ(mine, seen[0]);
  const std::vector<const upstream::Method*> methods = table_.ByIndex();
  EXPECT_EQ(methods.size(), kNames);
  for (size_t i = 0; i < methods.size(); ++i) EXPECT_EQ(methods[i]->index, i);
}

TEST(IdempotencyLevelTest, IsKnownWhereThereIsADescriptor) {
  const auto* const service =
      google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(
          std::string(mesh::test::Request::descriptor()->file()->package()) +
          ".TestService");
  ASSERT_NE(service, nullptr);
  const std::string path =
      service->full_name() + "/" + service->method(0)->name();
  EXPECT_EQ(IdempotencyLevel("/" + path), false);
  EXPECT_EQ(IdempotencyLevel(path), false);
}

TEST(IdempotencyLevelTest, IsUnknownOtherwise) {
  EXPECT_EQ(IdempotencyLevel("/no.Such/Method"), std::nullopt);
  EXPECT_EQ(IdempotencyLevel(""), std::nullopt);
  EXPECT_EQ(IdempotencyLevel("/"), std::nullopt);
}

}  // namespace
}  // namespace mesh::service
