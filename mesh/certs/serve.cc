#include "mesh/certs/serve.h"

#include <signal.h>
#include <unistd.h>

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "mesh/base/mutex.h"
#include "mesh/certs/agent.h"
#include "mesh/security/files.h"
#include "mesh/security/source.h"

namespace mesh::certs {
namespace {

// The last part of a path.
std::string NameOf(const std::string& path) {
  const size_t end = path.find_last_not_of('/');
  if (end == std::string::npos) return path;
  const size_t slash = path.rfind('/', end);
  return path.substr(slash == std::string::npos ? 0 : slash + 1,
                     end - (slash == std::string::npos ? 0 : slash + 1) + 1);
}

// All SVIDs together, as they stand.
class Answer {
 public:
  Answer(std::unique_ptr<Agent> agent, size_t svids, std::ostream* err)
      : agent_(std::move(agent)), err_(err), svids_(svids) {}

  void Set(size_t index, const std::string& hint,
           const security::Identity& identity) {
    base::MutexLock lock(&mu_);
    if (!identity.spiffe_id().has_value()) {
      *err_ << hint << ": the certificate has no SPIFFE ID; it is not given."
            << std::endl;
      return;
    }
    svids_[index] = {identity.spiffe_id()->text(), hint, identity.bytes()};
    for (const AgentSvid& svid : svids_) {
      if (svid.spiffe_id.empty()) return;  // It comes.
    }
    absl::StatusOr<std::string> response = AgentResponse(svids_);
    if (response.ok()) {
      agent_->Push(*std::move(response));
    } else {
      *err_ << hint << ": " << response.status().message() << std::endl;
    }
  }
  void Tell(const std::string& hint, const std::string& text) {
    base::MutexLock lock(&mu_);
    *err_ << hint << ": " << text << std::endl;
  }

 private:
  const std::unique_ptr<Agent> agent_;
  std::ostream* const err_;
  base::Mutex mu_;  // Guards *err_, too.
  std::vector<AgentSvid> svids_ ABSL_GUARDED_BY(mu_);
};

class OneSvid final : public security::IdentityListener {
 public:
  OneSvid(std::shared_ptr<Answer> answer, size_t index, std::string hint)
      : answer_(std::move(answer)), index_(index), hint_(std::move(hint)) {}
  void OnIdentity(security::IdentityPtr identity) override {
    answer_->Set(index_, hint_, *identity);
  }
  void OnNotice(const security::IdentityNotice& notice) override {
    answer_->Tell(hint_, notice.text);
  }

 private:
  const std::shared_ptr<Answer> answer_;
  const size_t index_;
  const std::string hint_;
};

security::IdentityPaths FilesOf(
    const std::string& directory,
    const std::map<std::string, std::string>& more) {
  security::IdentityPaths files;
  files.cert = absl::StrCat(directory, "/tls.crt");
  files.key = absl::StrCat(directory, "/tls.key");
  files.bundles = more;
  files.bundles[""] = absl::StrCat(directory, "/ca.crt");
  const std::string crl = absl::StrCat(directory, "/crl.pem");
  if (access(crl.c_str(), F_OK) == 0) files.crls = {crl};
  return files;
}

}  // namespace

absl::Status Serve(const ServeOptions& options,
                   const std::function<void()>& wait, std::ostream& out,
                   std::ostream& err) {
  std::vector<std::shared_ptr<security::FileSource>> sources;
  for (const std::string& directory : options.directories) {
    auto source =
        security::FileSource::Make(FilesOf(directory, options.federated));
    if (!source.ok()) {
      return absl::FailedPreconditionError(
          absl::StrCat(directory, ": ", source.status().message()));
    }
    sources.push_back(*std::move(source));
  }
  absl::StatusOr<std::unique_ptr<Agent>> agent = Agent::Start(options.address);
  if (!agent.ok()) return agent.status();
  // A listener that is called at the end keeps it alive.
  const auto answer =
      std::make_shared<Answer>(*std::move(agent), sources.size(), &err);
  std::vector<std::shared_ptr<OneSvid>> listeners;
  for (size_t i = 0; i < sources.size(); ++i) {
    listeners.push_back(
        std::make_shared<OneSvid>(answer, i, NameOf(options.directories[i])));
    sources[i]->Subscribe(listeners.back());
  }
  out << "the agent listens at " << options.address << std::endl;
  wait();
  return absl::OkStatus();
}

std::function<void()> WaitForSignal() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return [signals] {
    int signal = 0;
    sigwait(&signals, &signal);
  };
}

}  // namespace mesh::certs
