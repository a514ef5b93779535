import guest_programs
import oci_image


def test_the_loader_s_answer_names_libraries():
    answer = ("\tlinux-vdso.so.1 (0x00007fb1)\n"
              "\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007fb1)\n"
              "\t/lib64/ld-linux-x86-64.so.2 (0x00007fb1)\n")
    assert guest_programs.LIBRARY.findall(answer) == ["/lib/x86_64-linux-gnu/libz.so.1",
                                                      "/lib64/ld-linux-x86-64.so.2"]


def test_the_share_has_the_tree_of_the_image(tmp_path):
    share = guest_programs.make_share(tmp_path / "share", {"/usr/bin/tool": oci_image.BUSYBOX})
    assert (share / "root/usr/bin/tool").read_bytes() == (share / "root/bin/sh").read_bytes()
    assert (share / "root/data").is_dir() and (share / "data").is_dir()
