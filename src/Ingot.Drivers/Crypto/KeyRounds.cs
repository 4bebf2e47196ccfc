using System.Security.Cryptography;
using Ingot.Linux;

namespace Ingot.Drivers.Crypto;

/// <summary>How many rounds of PBKDF2 this machine does in a time.</summary>
internal static class KeyRounds
{
    private const int Least = 1000;
    private const int MeasureMilliseconds = 50;

    /// <summary>Measures for a hash, on the processor's own clock: a busy machine must not give weaker keys.</summary>
    /// <param name="hash">The hash.</param>
    /// <param name="length">Bytes that are derived.</param>
    /// <param name="milliseconds">The time.</param>
    /// <returns>The rounds, at least 1000.</returns>
    internal static int For(HashAlgorithmName hash, int length, long milliseconds)
    {
        byte[] salt = new byte[LuksHeader.SaltLength];
        for (int rounds = Least; ; rounds *= 2)
        {
            long before = ThreadClock.CpuNanoseconds;
            _ = Rfc2898DeriveBytes.Pbkdf2("password"u8, salt, rounds, hash, length);
            long spent = Math.Max(1, ThreadClock.CpuNanoseconds - before);
            if (spent >= MeasureMilliseconds * 1_000_000L || milliseconds == 0 || rounds > int.MaxValue / 2)
            {
                double wanted = (double)rounds / spent * milliseconds * 1_000_000;
                return (int)Math.Clamp(wanted, Least, int.MaxValue);
            }
        }
    }
}
