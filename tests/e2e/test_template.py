"""Pods that start from a template: a guest that was booted once and saved."""

def test_try(kata, kata_config):
    kata_config.change(factory={"template": "auto"})
    for i in range(3):
        outcome = kata.run("sh", "-c", "uname -r; date; cat /proc/uptime; head -c 16 /dev/urandom | md5sum; cat /proc/sys/kernel/random/boot_id")
        print(outcome)
    assert 0
