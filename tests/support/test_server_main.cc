// mesh.test.TestService as a process of its own. Prints the addresses that it
// listens on, one a line, then an empty line. SIGTERM: refuses new calls, lets
// those that run finish within --grace_ms, exits with 0. From SIGUSR1 to
// SIGUSR2 it has the --fault.

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tests/support/test_server.h"

namespace {

constexpr char kUsage[] =
    "usage: test_server_main [--address=HOST:PORT[,...]] [--name=NAME]\n"
    "  [--arg=KEY=INTEGER]... gRPC server channel argument\n"
    "  [--tls_cert=FILE --tls_key=FILE] [--tls_client_ca=FILE]\n"
    "  [--grace_ms=N] calls may run on after SIGTERM (default 5000)\n"
    "  [--journal=FILE] append the key of each execution\n"
    "  [--fault=CODE:SHARE] of unary calls, from SIGUSR1 until SIGUSR2\n"
    "  [--no_raw_service] only TestService's own methods\n";

bool ReadFile(const std::string& path, std::string* text) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream all;
  all << file.rdbuf();
  *text = all.str();
  return file.good();
}

int Fail(const std::string& why) {
  std::cerr << "test_server_main: " << why << "\n" << kUsage;
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  mesh::test::TestServer::Options options;
  const auto fault = std::make_shared<mesh::test::ServerFault>();
  options.fault = fault;
  std::string cert_file, key_file, client_ca_file, journal;
  int grace_ms = 5000;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const std::string value = flag.substr(flag.find('=') + 1);
    if (absl::StartsWith(flag, "--address=")) {
      options.addresses = absl::StrSplit(value, ',');
    } else if (absl::StartsWith(flag, "--name=")) {
      options.name = value;
    } else if (absl::StartsWith(flag, "--arg=")) {
      const std::pair<std::string, std::string> arg =
          absl::StrSplit(value, absl::MaxSplits('=', 1));
      if (!absl::SimpleAtoi(arg.second, &options.int_args[arg.first])) {
        return Fail("bad flag " + flag);
      }
    } else if (absl::StartsWith(flag, "--tls_cert=")) {
      cert_file = value;
    } else if (absl::StartsWith(flag, "--tls_key=")) {
      key_file = value;
    } else if (absl::StartsWith(flag, "--tls_client_ca=")) {
      client_ca_file = value;
    } else if (absl::StartsWith(flag, "--grace_ms=")) {
      if (!absl::SimpleAtoi(value, &grace_ms)) return Fail("bad flag " + flag);
    } else if (absl::StartsWith(flag, "--journal=")) {
      journal = value;
    } else if (absl::StartsWith(flag, "--fault=")) {
      const std::pair<std::string, std::string> parts =
          absl::StrSplit(value, absl::MaxSplits(':', 1));
      if (!absl::SimpleAtoi(parts.first, &fault->code) ||
          !absl::SimpleAtod(parts.second, &fault->share)) {
        return Fail("bad flag " + flag);
      }
    } else if (flag == "--no_raw_service") {
      options.raw_service = false;
    } else {
      return Fail("unknown flag " + flag);
    }
  }
  options.executions = std::make_shared<mesh::test::Executions>(journal);
  if (!cert_file.empty()) {
    grpc::SslServerCredentialsOptions tls(
        client_ca_file.empty()
            ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
            : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    grpc::SslServerCredentialsOptions::PemKeyCertPair pair;
    if (!ReadFile(cert_file, &pair.cert_chain)) return Fail("no " + cert_file);
    if (!ReadFile(key_file, &pair.private_key)) return Fail("no " + key_file);
    tls.pem_key_cert_pairs.push_back(pair);
    if (!client_ca_file.empty() &&
        !ReadFile(client_ca_file, &tls.pem_root_certs)) {
      return Fail("no " + client_ca_file);
    }
    options.credentials = grpc::SslServerCredentials(tls);
  }

  // Blocked here, so in all threads that are made from now on.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGUSR1);
  sigaddset(&signals, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  auto server = mesh::test::TestServer::Start(std::move(options));
  if (!server.ok()) {
    std::cerr << "test_server_main: " << server.status().message() << "\n";
    return 1;
  }
  for (const std::string& address : (*server)->addresses()) {
    std::printf("%s\n", address.c_str());
  }
  std::printf("\n");
  std::fflush(stdout);

  int signal = 0;
  while (sigwait(&signals, &signal) == 0 &&
         (signal == SIGUSR1 || signal == SIGUSR2)) {
    fault->on = signal == SIGUSR1;
  }
  (*server)->Shutdown(absl::Milliseconds(grace_ms));
  return 0;
}
