using System.Runtime.InteropServices;
using System.Runtime.InteropServices.Marshalling;

namespace Ingot.Linux;

/// <summary>Hands text to libc as <see cref="NativeText"/> encodes it, with a NUL at the end.</summary>
[CustomMarshaller(typeof(string), MarshalMode.ManagedToUnmanagedIn, typeof(NativeTextMarshaller))]
internal static unsafe class NativeTextMarshaller
{
    public static byte* ConvertToUnmanaged(string? text)
    {
        byte[] bytes = NativeText.Encode(text ?? "");

        // SAFETY: the copy has a place for every byte and the NUL, and lives until Free.
        byte* copy = (byte*)NativeMemory.Alloc((nuint)bytes.Length + 1);
        bytes.CopyTo(new Span<byte>(copy, bytes.Length));
        copy[bytes.Length] = 0;
        return copy;
    }

    public static void Free(byte* text) => NativeMemory.Free(text);
}
