#include "mesh/service/proxy.h"

#include <map>
#include <string>

#include "gtest/gtest.h"

namespace mesh::service {
namespace {

using Arguments = std::map<std::string, options::ChannelArgument>;

class ProxyTest : public testing::Test {
 protected:
  bool Goes(absl::string_view host, const Arguments& arguments = {}) {
    return GoesThroughProxy(host, arguments, [this](const char* name) {
      const auto found = set_.find(name);
      return found != set_.end() ? found->second.c_str() : nullptr;
    });
  }
  std::map<std::string, std::string> set_;
};

TEST_F(ProxyTest, WithoutAProxyNothingGoesThroughOne) {
  EXPECT_FALSE(Goes("cart.svc"));
  set_["no_proxy"] = ".svc";
  EXPECT_FALSE(Goes("cart.example"));
}

TEST_F(ProxyTest, AnyOfThreeVariablesNamesOne) {
  for (const char* name : {"grpc_proxy", "https_proxy", "http_proxy"}) {
    set_.clear();
    set_[name] = "http://user@proxy:3128";
    EXPECT_TRUE(Goes("cart.svc")) << name;
  }
  set_["http_proxy"] = "socks5://proxy:1080";
  set_.erase("https_proxy");
  EXPECT_FALSE(Goes("cart.svc")) << "gRPC knows http:// only";
}

TEST_F(ProxyTest, ANameThatEndsSoIsExempt) {
  set_["http_proxy"] = "http://proxy:3128";
  set_["no_proxy"] = ".svc,.cluster.local,localhost";
  EXPECT_FALSE(Goes("cart.svc"));
  EXPECT_FALSE(Goes("cart.prod.svc.CLUSTER.local"));
  EXPECT_FALSE(Goes("localhost"));
  EXPECT_TRUE(Goes("svc"));
  EXPECT_TRUE(Goes("cart.example"));
  EXPECT_TRUE(Goes("10.0.0.1"));
  set_["no_grpc_proxy"] = "example";
  EXPECT_FALSE(Goes("cart.example"));
  EXPECT_TRUE(Goes("cart.svc")) << "only the first of the two counts";
}

TEST_F(ProxyTest, ChannelArgumentsNameOneOrForbidIt) {
  EXPECT_TRUE(
      Goes("cart.svc", {{"grpc.http_proxy", std::string("http://proxy:1")}}));
  set_["http_proxy"] = "http://proxy:3128";
  EXPECT_FALSE(Goes("cart.svc", {{"grpc.enable_http_proxy", 0}}));
  EXPECT_TRUE(Goes("cart.svc", {{"grpc.enable_http_proxy", 1}}));
}

}  // namespace
}  // namespace mesh::service
