#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>

#include "bench/guest/operation.h"

namespace hmvm::bench {
namespace {
namespace fs = std::filesystem;

Operation Command(std::string name, unsigned samples, std::vector<std::string> arguments) {
  return Plain(std::move(name), samples, 1, [arguments] { RunProgram(arguments); });
}

// A place in memory, empty, gone in the end.
class Folder {
 public:
  Folder() {
    char name[] = "/tmp/operation-XXXXXX";
    if (::mkdtemp(name) == nullptr) Fail("mkdtemp below /tmp");
    path_ = name;
  }
  ~Folder() { fs::remove_all(path_); }
  std::string operator/(const char* name) const { return path_ / name; }

 private:
  fs::path path_;
};

std::function<Sample()> Compile() {
  auto folder = std::make_shared<Folder>();
  std::ofstream(*folder / "words.c") << R"(
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	size_t bytes = 0;
	for (int i = 1; i < argc; i++)
		bytes += strlen(argv[i]);
	printf("%d words, %zu bytes\n", argc - 1, bytes);
	return bytes ? EXIT_SUCCESS : EXIT_FAILURE;
}
)";
  return [folder] {
    return TimeOf(1, [&] {
      RunProgram({"gcc", "-O2", "-c", *folder / "words.c", "-o", *folder / "words.o"});
    });
  };
}

std::function<Sample()> Tar() {
  auto folder = std::make_shared<Folder>();
  fs::create_directory(*folder / "files");
  for (int i = 0; i < 1000; ++i) {
    std::ofstream(*folder / ("files/" + std::to_string(i)).c_str()) << std::string(2000, 'x');
  }
  // Not to /dev/null: tar would not read the files then.
  return [folder] {
    return TimeOf(1, [&] {
      RunProgram({"tar", "-cf", *folder / "files.tar", "-C", *folder / "files", "."});
    });
  };
}

class RedisServer {
 public:
  RedisServer() {
    pid_ = StartProgram(
        {"redis-server", "--port", "0", "--unixsocket", socket(), "--save", "", "--appendonly", "no"});
    while (!Answers()) {
      if (::waitpid(pid_, nullptr, WNOHANG) != 0) Fail("redis-server ended");
      ::usleep(10'000);
    }
  }
  ~RedisServer() {
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
  }
  std::string socket() const { return folder_ / "socket"; }

 private:
  bool Answers() const {
    const int fd = Check(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket().c_str(), sizeof(address.sun_path) - 1);
    const bool connected = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
    ::close(fd);
    return connected;
  }

  Folder folder_;
  pid_t pid_;
};

// A sample is one run of redis-benchmark, its start included, shared among its requests.
Operation Redis(const char* request) {
  constexpr unsigned kRequests = 2000;
  return {"redis-benchmark -c 10, a " + std::string(request), 3, [request] {
            return [request, server = std::make_shared<RedisServer>()] {
              Sample sample = TimeOf(1, [&] {
                RunProgram({"redis-benchmark", "-q", "-s", server->socket(), "-c", "10", "-n",
                            std::to_string(kRequests), "-t", request});
              });
              sample.operations = kRequests;
              return sample;
            };
          }};
}

}  // namespace

std::vector<Operation> CommandOperations() {
  return {
      Command("python3 -c 'import json,hashlib'", 10, {"python3", "-c", "import json,hashlib"}),
      Command("sh -c, four programs and three pipes", 10, {"sh", "-c", "seq 1000 | sort | uniq | wc -l"}),
      {"gcc -O2 -c, a small file", 5, Compile},
      {"tar -cf of 1,000 files", 5, Tar},
      Redis("SET"),
      Redis("GET"),
  };
}

}  // namespace hmvm::bench
