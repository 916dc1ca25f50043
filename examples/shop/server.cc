#include "examples/shop/server.h"

#include <pthread.h>
#include <signal.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "examples/shop/flags.h"
#include "examples/shop/port.h"

namespace shop {

grpc::Status Serve(Panel& panel, const grpc::ServerContext& context,
                   absl::Duration service_time) {
  const uint64_t call = panel.calls.fetch_add(1);
  if (context.client_metadata().count("grpc-previous-rpc-attempts") > 0) {
    panel.repeats.fetch_add(1);
  }
  // Spread evenly and the same in every run: multiples of a number coprime to
  // 100 visit every remainder.
  if (call * 37 % 100 < panel.fail_percent.load()) {
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the demo's fault");
  }
  const uint32_t slowdown = panel.slowdown.load();
  absl::SleepFor(slowdown > 1 ? service_time * slowdown : service_time);
  return grpc::Status::OK;
}

int ServerMain(int argc, char** argv,
               std::unique_ptr<grpc::Service> (*make_service)(Panel& panel,
                                                              int argc,
                                                              char** argv)) {
  // Before any thread is started, so that all inherit it: SIGTERM is waited
  // for below.
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  sigaddset(&stop_signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);

  int port = 0;
  const std::string port_flag = Flag(argc, argv, "port", "0");
  if (!absl::SimpleAtoi(port_flag, &port)) {
    fprintf(stderr, "--port must be a number, but is \"%s\".\n",
            port_flag.c_str());
    return 2;
  }
  absl::StatusOr<Panel*> panel = OpenPanel(Flag(argc, argv, "panel", ""));
  if (!panel.ok()) {
    fprintf(stderr, "--panel: %s\n", panel.status().ToString().c_str());
    return 2;
  }
  const std::unique_ptr<grpc::Service> service =
      make_service(**panel, argc, argv);
  if (service == nullptr) return 2;

  grpc::ServerBuilder builder;
  const absl::StatusOr<std::shared_ptr<void>> kept =
      AddPort(&builder, Flag(argc, argv, "arm", ""),
              Flag(argc, argv, "identity", ""), &port);
  if (!kept.ok()) {
    fprintf(stderr, "%s\n", kept.status().ToString().c_str());
    return 2;
  }
  builder.RegisterService(service.get());
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) {
    fprintf(stderr, "the server cannot listen on 127.0.0.1:%s.\n",
            port_flag.c_str());
    return 1;
  }
  printf("port %d\n", port);
  fflush(stdout);

  int signal = 0;
  sigwait(&stop_signals, &signal);
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(5));
  return 0;
}

}  // namespace shop
