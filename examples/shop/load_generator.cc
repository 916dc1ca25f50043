// The shop's visitors. Calls are due at a fixed rate, whatever becomes of those
// before them (an open loop). Latency counts from when a call was due. So a
// slow shop cannot slow down its own load. At most kVisitors calls are under
// way at once. A call that is due while all are starts late, and that is noted.
//
//   --frontend=HOST:PORT
//   --results=FILE  where a CallRecord is appended for each call as it ends.
//   --rate=N        calls per second
//   --seconds=N     how long

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "examples/shop/calls.h"
#include "examples/shop/flags.h"
#include "examples/shop/v1/frontend.grpc.pb.h"
#include "grpcpp/grpcpp.h"

namespace shop {
namespace {

constexpr int kVisitors = 192;
constexpr std::chrono::seconds kDeadline(1);

// What the `n`th call does. Of 50 calls about 20 view an item, 12 a cart, 8 add
// an item, 5 ask for a quote, 2 check out. One each searches, watches a cart
// and uploads items. The order is mixed, since calls in a pattern fall in step
// with round robin. It is the same order in every run.
Kind KindOf(int64_t n) {
  // The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
  uint64_t hash = (n + 1) * 0x9e3779b97f4a7c15u;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
  const uint64_t slot = (hash ^ (hash >> 31)) % 50;
  if (slot < 20) return Kind::kViewItem;
  if (slot < 32) return Kind::kViewCart;
  if (slot < 40) return Kind::kAddItem;
  if (slot < 45) return Kind::kQuote;
  if (slot < 47) return Kind::kCheckout;
  if (slot < 48) return Kind::kSearch;
  if (slot < 49) return Kind::kWatchCart;
  return Kind::kUpload;
}

// Makes the `n`th call and waits for its end.
grpc::Status Call(v1::Frontend::Stub& shop, int64_t n) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  const std::string cart_id = absl::StrCat("cart-", n % 97);
  const std::string item_id = absl::StrCat("item-", n % 100);
  switch (KindOf(n)) {
    case Kind::kViewItem: {
      v1::GetItemRequest request;
      request.set_item_id(item_id);
      v1::Item reply;
      return shop.ViewItem(&context, request, &reply);
    }
    case Kind::kViewCart: {
      v1::GetCartRequest request;
      request.set_cart_id(cart_id);
      v1::CartContents reply;
      return shop.ViewCart(&context, request, &reply);
    }
    case Kind::kAddItem: {
      v1::AddItemRequest request;
      request.set_cart_id(cart_id);
      request.set_line_id(absl::StrCat("line-", n % 5));
      request.set_item_id(item_id);
      request.set_count(1);
      v1::CartContents reply;
      return shop.AddItem(&context, request, &reply);
    }
    case Kind::kQuote: {
      v1::QuoteRequest request;
      request.set_goods_cents(n % 10000);
      v1::QuoteReply reply;
      return shop.Quote(&context, request, &reply);
    }
    case Kind::kCheckout: {
      v1::ChargeRequest request;
      request.set_order_id(absl::StrCat("order-", n));
      request.set_total_cents(n % 10000);
      v1::ChargeReply reply;
      return shop.Checkout(&context, request, &reply);
    }
    case Kind::kSearch: {
      v1::SearchRequest request;
      request.set_text("7");
      const auto items = shop.Search(&context, request);
      v1::Item item;
      while (items->Read(&item)) {
      }
      return items->Finish();
    }
    case Kind::kWatchCart: {
      v1::GetCartRequest request;
      request.set_cart_id(cart_id);
      v1::CartContents cart;
      const auto carts = shop.WatchCart(&context);
      for (int i = 0; i < 3; ++i) {
        if (!carts->Write(request) || !carts->Read(&cart)) break;
      }
      carts->WritesDone();
      return carts->Finish();
    }
    case Kind::kUpload: {
      v1::UploadSummary summary;
      const auto items = shop.Upload(&context, &summary);
      for (int i = 0; i < 3; ++i) {
        v1::Item item;
        item.set_item_id(absl::StrCat("item-", (n + i) % 100));
        item.set_title(absl::StrCat("New thing ", i));
        if (!items->Write(item)) break;
      }
      items->WritesDone();
      return items->Finish();
    }
  }
  return grpc::Status(grpc::StatusCode::INTERNAL, "no such kind");
}

int Run(const std::string& frontend, int results, double rate, double seconds) {
  // The instrument is the same in both arms: one plain connection to the
  // frontend, no retries, so that each failure of the shop is seen.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  const auto channel = grpc::CreateCustomChannel(
      frontend, grpc::InsecureChannelCredentials(), arguments);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() +
                                 std::chrono::seconds(10))) {
    fprintf(stderr, "no connection to the frontend at %s could be made.\n",
            frontend.c_str());
    return 1;
  }
  const auto shop = v1::Frontend::NewStub(channel);

  const auto start = std::chrono::steady_clock::now();
  const int64_t calls = static_cast<int64_t>(rate * seconds);
  std::atomic<int64_t> next{0};
  std::atomic<bool> lost{false};
  auto visitor = [&] {
    for (int64_t n = next++; n < calls; n = next++) {
      const auto due = start + std::chrono::nanoseconds(
                                   static_cast<int64_t>(n * 1e9 / rate));
      std::this_thread::sleep_until(due);
      CallRecord record = {};
      record.due_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(
                          due.time_since_epoch())
                          .count();
      record.late_ns = NowNanos() - record.due_ns;
      record.kind = KindOf(n);
      const grpc::Status status = Call(*shop, n);
      record.latency_ns = NowNanos() - record.due_ns;
      record.status = static_cast<uint8_t>(status.error_code());
      if (!status.ok()) {
        fprintf(stderr, "call %lld at %.3f s, after %.3f s: %d %s\n",
                static_cast<long long>(n), n / rate, record.latency_ns * 1e-9,
                status.error_code(), status.error_message().c_str());
      }
      // One write to a file opened with O_APPEND: records never mix.
      if (write(results, &record, sizeof(record)) != sizeof(record)) {
        lost = true;
      }
    }
  };
  std::vector<std::thread> visitors;
  for (int i = 0; i < kVisitors; ++i) visitors.emplace_back(visitor);
  for (std::thread& thread : visitors) thread.join();
  if (lost) fprintf(stderr, "some results could not be written.\n");
  return lost ? 1 : 0;
}

}  // namespace
}  // namespace shop

int main(int argc, char** argv) {
  double rate = 0, seconds = 0;
  if (!absl::SimpleAtod(shop::Flag(argc, argv, "rate", "400"), &rate) ||
      !absl::SimpleAtod(shop::Flag(argc, argv, "seconds", "10"), &seconds) ||
      rate <= 0 || seconds <= 0) {
    fprintf(stderr, "--rate and --seconds must be numbers above 0.\n");
    return 2;
  }
  const std::string path = shop::Flag(argc, argv, "results", "/dev/null");
  const int results =
      open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (results < 0) {
    fprintf(stderr, "the file \"%s\" of --results could not be opened.\n",
            path.c_str());
    return 2;
  }
  return shop::Run(shop::Flag(argc, argv, "frontend", ""), results, rate,
                   seconds);
}
