#include "tests/scenario/scenario.h"

#include <signal.h>

#include <cstdlib>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace mesh::test {
namespace {

std::string ServerProgram() {
  const char* root = std::getenv("TEST_SRCDIR");
  return absl::StrCat(root == nullptr ? "." : root,
                      "/mesh/tests/support/test_server_main");
}

}  // namespace

ServerProcess::ServerProcess(Options options) : options_(std::move(options)) {
  Start();
}

void ServerProcess::Kill() {
  process_->Signal(SIGKILL);
  (void)process_->Wait();
}

void ServerProcess::Terminate() {
  process_->Signal(SIGTERM);
  const absl::Status status = process_->Wait();
  EXPECT_TRUE(status.ok()) << status;
}

void ServerProcess::Start() {
  std::vector<std::string> argv = {ServerProgram(),
                                   "--address=" + options_.address};
  if (!options_.journal.empty()) {
    argv.push_back("--journal=" + options_.journal);
  }
  for (const std::string& flag : options_.flags) argv.push_back(flag);
  absl::StatusOr<std::string> address;
  // The system may for a moment have given a port that was just left to a
  // client.
  for (int i = 0; i < 10; ++i) {
    process_ = Process::Start(argv).value();
    address = process_->ReadLine(absl::Seconds(30));
    if (address.ok()) {
      options_.address = *address;
      return;
    }
    absl::SleepFor(absl::Milliseconds(100));
  }
  FAIL() << "no server on " << options_.address << ": " << address.status();
}

std::map<std::string, int> ReadJournals(
    const std::vector<std::string>& journals) {
  std::map<std::string, int> executions;
  for (const std::string& journal : journals) {
    std::ifstream file(journal);
    EXPECT_TRUE(file.is_open()) << journal;
    std::string key;
    while (std::getline(file, key)) ++executions[key];
  }
  return executions;
}

Load::Load(double calls_per_second, int threads, Call call)
    : interval_(calls_per_second > 0 ? absl::Seconds(1 / calls_per_second)
                                     : absl::ZeroDuration()),
      call_(std::move(call)),
      start_(absl::Now()) {
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { Run(); });
  }
}

void Load::Run() {
  while (!stopping_) {
    const int64_t number = next_++;
    absl::SleepFor(start_ + number * interval_ - absl::Now());
    const grpc::Status status = call_(number);
    ++calls_;
    if (status.ok()) continue;
    ++failed_;
    base::MutexLock lock(&mu_);
    ++failures_[absl::StrCat(status.error_code(), ": ", status.error_message(),
                             " ", status.error_details())];
  }
}

void Load::Stop() {
  stopping_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

std::string Load::Failures() const {
  base::MutexLock lock(&mu_);
  std::string text;
  for (const auto& [failure, count] : failures_) {
    absl::StrAppend(&text, count, " x ", failure, "\n");
  }
  return text;
}

std::string EndpointsFile(const std::vector<std::string>& addresses) {
  std::string text = "endpoints:\n";
  for (const std::string& address : addresses) {
    absl::StrAppend(&text, "  - ", address, "\n");
  }
  return text;
}

std::unique_ptr<Mesh> MakeMesh(const v1::Config& config, Options options) {
  absl::StatusOr<std::unique_ptr<Mesh>> mesh =
      Mesh::Create(config, std::move(options));
  EXPECT_TRUE(mesh.ok()) << mesh.status();
  return *std::move(mesh);
}

v1::Config OneService(const std::vector<std::string>& addresses) {
  v1::Config config;
  v1::Service& service = TheService(&config);
  for (const std::string& address : addresses) {
    service.add_endpoints()->set_address(address);
  }
  return config;
}

v1::Service& TheService(v1::Config* config) {
  return (*config->mutable_services())["test"];
}

std::unique_ptr<TestService::Stub> StubOf(Mesh& mesh,
                                          absl::string_view service) {
  return TestService::NewStub(mesh.Channel(service));
}

namespace {

void SetDeadline(grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() +
                        std::chrono::seconds(10));
}

// What mesh has added to gRPC's account of a failure. May be empty.
std::string StoryOf(const grpc::ClientContext& context) {
  const std::string account = context.debug_error_string();
  const size_t story = account.find("; mesh: ");
  return story == std::string::npos ? "" : account.substr(story + 2);
}

}  // namespace

grpc::Status CallUnary(TestService::Stub& stub, const Request& request,
                       Reply* reply) {
  grpc::ClientContext context;
  SetDeadline(&context);
  Reply ignored;
  const grpc::Status status =
      stub.Unary(&context, request, reply == nullptr ? &ignored : reply);
  if (status.ok()) return status;
  return {status.error_code(), status.error_message(), StoryOf(context)};
}

grpc::Status CallOnce(TestService::Stub& stub, const Request& request) {
  grpc::ClientContext context;
  SetDeadline(&context);
  Reply reply;
  return stub.Once(&context, request, &reply);
}

bool WaitUntil(const std::function<bool()>& condition) {
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return true;
}

telemetry::ServiceSnapshot ServiceMetrics(const Mesh& mesh) {
  const telemetry::Snapshot snapshot = mesh.Metrics();
  for (const telemetry::ServiceSnapshot& service : snapshot.services) {
    if (service.service == "test") return service;
  }
  return {};
}

uint64_t Retries(const Mesh& mesh) {
  uint64_t retries = 0;
  const telemetry::ServiceSnapshot service = ServiceMetrics(mesh);
  for (const telemetry::MethodSnapshot& method : service.methods) {
    retries += method.retries + method.transparent_retries;
  }
  return retries;
}

}  // namespace mesh::test

namespace grpc {

void PrintTo(const Status& status, std::ostream* out) {
  *out << status.error_code() << ": " << status.error_message();
}

}  // namespace grpc
