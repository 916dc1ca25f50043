// The server of the overload benchmark. It has some slots; each takes a request
// from one FIFO queue and sleeps. The queue has no bound. A request whose
// caller has given up is worked on like any other, as in a server that hands
// requests to a pool of threads. It prints its port on a line. It serves until
// the process that started it is gone (end of stdin).
//
//   overload_server SLOTS MILLISECONDS

#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "benchmarks/overhead/echo.grpc.pb.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"

namespace mesh::benchmarks {
namespace {

class SlotService final : public echo::Echo::CallbackService {
 public:
  SlotService(int slots, std::chrono::milliseconds time) : time_(time) {
    for (int i = 0; i < slots; ++i) {
      std::thread([this] { Work(); }).detach();
    }
  }

  grpc::ServerUnaryReactor* Unary(grpc::CallbackServerContext* context,
                                  const echo::EchoMessage* request,
                                  echo::EchoMessage* response) override {
    *response = *request;
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    const std::lock_guard<std::mutex> lock(mu_);
    queue_.push_back(reactor);
    more_.notify_one();
    return reactor;
  }

 private:
  void Work() {
    for (;;) {
      grpc::ServerUnaryReactor* reactor = nullptr;
      {
        std::unique_lock<std::mutex> lock(mu_);
        more_.wait(lock, [this] { return !queue_.empty(); });
        reactor = queue_.front();
        queue_.pop_front();
      }
      std::this_thread::sleep_for(time_);
      reactor->Finish(grpc::Status::OK);
    }
  }

  const std::chrono::milliseconds time_;
  std::mutex mu_;
  std::condition_variable more_;
  std::deque<grpc::ServerUnaryReactor*> queue_;
};

int Run(int slots, int milliseconds) {
  SlotService service(slots, std::chrono::milliseconds(milliseconds));
  int port = 0;
  grpc::ServerBuilder builder;
  // Two benchmarks at once must not share a port.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    std::fprintf(stderr, "overload_server: cannot listen on 127.0.0.1\n");
    return 1;
  }
  std::printf("%d\n", port);
  std::fflush(stdout);
  char buffer[64];
  while (read(STDIN_FILENO, buffer, sizeof(buffer)) > 0) {
  }
  // The slots sleep on: nothing is torn down under them.
  std::_Exit(0);
}

}  // namespace
}  // namespace mesh::benchmarks

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: overload_server SLOTS MILLISECONDS\n");
    return 2;
  }
  return mesh::benchmarks::Run(std::atoi(argv[1]), std::atoi(argv[2]));
}
