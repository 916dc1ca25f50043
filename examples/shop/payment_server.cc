// The shop's payment service. Besides the common flags, `--ledger=FILE` names
// the file to which each charge is written as it is made, one line an order.
// All payment servers append to the same one, so it shows what was charged
// twice.

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "examples/shop/flags.h"
#include "examples/shop/server.h"
#include "examples/shop/v1/payment.grpc.pb.h"

namespace shop {
namespace {

constexpr absl::Duration kServiceTime = absl::Milliseconds(6);

class PaymentService final : public v1::Payment::Service {
 public:
  PaymentService(Panel& panel, int ledger) : panel_(panel), ledger_(ledger) {}
  ~PaymentService() override { close(ledger_); }

  grpc::Status Quote(grpc::ServerContext* context,
                     const v1::QuoteRequest* request,
                     v1::QuoteReply* reply) override {
    grpc::Status status = Serve(panel_, *context, kServiceTime);
    if (!status.ok()) return status;
    reply->set_total_cents(request->goods_cents() * 119 / 100 + 490);
    return grpc::Status::OK;
  }

  grpc::Status Charge(grpc::ServerContext* context,
                      const v1::ChargeRequest* request,
                      v1::ChargeReply* reply) override {
    grpc::Status status = Serve(panel_, *context, kServiceTime);
    if (!status.ok()) return status;
    // One write to a file opened with O_APPEND: whole lines, from any process.
    const std::string line = absl::StrCat(request->order_id(), "\n");
    if (write(ledger_, line.data(), line.size()) !=
        static_cast<ssize_t>(line.size())) {
      return grpc::Status(grpc::StatusCode::INTERNAL, "the ledger is full");
    }
    reply->set_receipt(absl::StrCat("receipt-", request->order_id()));
    return grpc::Status::OK;
  }

 private:
  Panel& panel_;
  const int ledger_;
};

}  // namespace
}  // namespace shop

int main(int argc, char** argv) {
  return shop::ServerMain(
      argc, argv,
      [](shop::Panel& panel, int argc,
         char** argv) -> std::unique_ptr<grpc::Service> {
        const std::string path = shop::Flag(argc, argv, "ledger", "/dev/null");
        const int ledger =
            open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (ledger < 0) {
          fprintf(stderr, "the file \"%s\" of --ledger could not be opened.\n",
                  path.c_str());
          return nullptr;
        }
        return std::make_unique<shop::PaymentService>(panel, ledger);
      });
}
