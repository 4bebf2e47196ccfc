using static System.FormattableString;

namespace Ingot.Rings.Lab;

/// <summary>A statement about ring designs, and what a run of them shows.</summary>
/// <param name="Topic">In-flight limits, chaining, embedding, or who frees what when.</param>
/// <param name="Statement">The statement.</param>
/// <param name="Evidence">What was seen.</param>
/// <param name="Holds">True when what was seen says so.</param>
public sealed record RingFact(string Topic, string Statement, string Evidence, bool Holds);

/// <summary>The comparison of ring designs as facts: each is tried out when asked for, on one thread, so that nothing depends on timing.</summary>
public static class RingFacts
{
    private const string InFlight = "in-flight limits";
    private const string Freeing = "who frees an entry, and when";
    private const string Chaining = "chaining";
    private const string Embedding = "embedding";
    private const int Size = 8;
    private const int Many = 64;

    /// <summary>Tries every statement.</summary>
    /// <returns>The facts, by topic.</returns>
    public static IReadOnlyList<RingFact> Establish() =>
    [
        UringHoldsMoreThanItsSize(),
        SplitHoldsNoMoreThanItsSize("split-indirect"),
        SplitHoldsNoMoreThanItsSize("packed-indirect"),
        ChainsShareTheRing("split"),
        ChainsShareTheRing("packed"),
        NvmeKeepsOneEntryFree(),
        UringFreesWhenRead(),
        VirtioFreesWhenAnswered("split-indirect"),
        VirtioFreesWhenAnswered("packed-indirect"),
        NvmeTellsItsHeadInCompletionsOnly(),
        VirtioChainsWithoutMemoryOfItsOwn(),
        NvmeAndUringNeedListsForMoreThanOneSegment(),
        EmbeddingSavesTheLoadOfTheHeader("embedded-header", "split-indirect"),
        EmbeddingSavesTheLoadOfTheHeader("embedded-packed-header", "packed-indirect"),
        EmbeddingTheStatusSavesItsLine("embedded", "embedded-header"),
        EmbeddingTheStatusSavesItsLine("embedded-packed", "embedded-packed-header"),
        InOrderAnswersABatchByOneEntry("split-indirect", "split-indirect-in-order"),
    ];

    private static RingFact UringHoldsMoreThanItsSize()
    {
        using var trial = new RingTrial("io-uring", Size, Many);
        int held = trial.FillWhileDeviceTakes();
        return new RingFact(InFlight, "An io_uring ring holds more requests in flight than it has entries", Invariant($"{held} in flight on {Size} entries"), held > Size);
    }

    private static RingFact SplitHoldsNoMoreThanItsSize(string design)
    {
        using var trial = new RingTrial(design, Size, Many);
        int held = trial.FillWhileDeviceTakes();
        return new RingFact(InFlight, $"A {design} virtqueue holds as many requests as it has entries, and no more", Invariant($"{held} in flight on {Size} entries"), held == Size);
    }

    private static RingFact ChainsShareTheRing(string design)
    {
        using var trial = new RingTrial(design, Size, Many);
        int held = trial.FillWhileDeviceTakes();
        return new RingFact(InFlight, $"A {design} virtqueue without indirect tables holds fewer: each descriptor of a chain takes an entry", Invariant($"{held} in flight of 3 descriptors each on {Size} entries"), held == Size / 3);
    }

    private static RingFact NvmeKeepsOneEntryFree()
    {
        using var trial = new RingTrial("nvme", Size, Many);
        int held = trial.Fill();
        return new RingFact(InFlight, "An NVMe queue keeps one entry free, to tell full from empty", Invariant($"{held} fit into {Size} entries"), held == Size - 1);
    }

    private static RingFact UringFreesWhenRead()
    {
        using var trial = new RingTrial("io-uring", Size, Many);
        int held = trial.Fill();
        bool fullBefore = !trial.TrySubmit();
        trial.Take(1);
        bool roomAfter = trial.TrySubmit();
        return new RingFact(Freeing, "io_uring's other side frees an entry by reading it, before the request is answered", Invariant($"full with {held}; after one was read and none answered, one more fits: {roomAfter}"), fullBefore && roomAfter);
    }

    private static RingFact VirtioFreesWhenAnswered(string design)
    {
        using var trial = new RingTrial(design, Size, Many);
        int held = trial.Fill();
        trial.Take(held);
        bool fullWhenRead = !trial.TrySubmit();
        trial.Answer(1);
        trial.Collect();
        bool roomWhenAnswered = trial.TrySubmit();
        return new RingFact(Freeing, $"A {design} virtqueue occupies its descriptors until the request is answered; the driver frees them", Invariant($"full with {held} read and not answered: {fullWhenRead}; after one answer one more fits: {roomWhenAnswered}"), fullWhenRead && roomWhenAnswered);
    }

    private static RingFact NvmeTellsItsHeadInCompletionsOnly()
    {
        using var trial = new RingTrial("nvme", Size, Many);
        int held = trial.Fill();
        trial.Take(held);
        bool fullWhenRead = !trial.TrySubmit();
        trial.Answer(1);
        trial.Collect();
        int more = trial.Fill();
        return new RingFact(Freeing, "NVMe tells that the submission queue's head has moved by completions only; one tells of all", Invariant($"full with all {held} read: {fullWhenRead}; after one completion {more} more fit"), fullWhenRead && more == held);
    }

    private static RingFact VirtioChainsWithoutMemoryOfItsOwn()
    {
        AccessRates one = Count("split", 1).Device;
        AccessRates eight = Count("split", 8).Device;
        double each = (eight.Loads - one.Loads) / 7;
        return new RingFact(Chaining, "VIRTIO chains data by entries of the ring itself: a load a segment, and no other memory", Invariant($"{each:0.##} loads by the device for each more segment"), Math.Abs(each - 1) < 0.01);
    }

    private static RingFact NvmeAndUringNeedListsForMoreThanOneSegment()
    {
        double nvme = Count("nvme-sgl", 2).Device.Loads - Count("nvme-sgl", 1).Device.Loads;
        double uring = Count("io-uring-no-array", 2).Device.Loads - Count("io-uring-no-array", 1).Device.Loads;
        return new RingFact(Chaining, "NVMe (SGL) and io_uring have room for one segment in the entry; a second one needs a list elsewhere", Invariant($"two segments take {nvme:0.##} and {uring:0.##} loads more than one: both are in the list"), Math.Abs(nvme - 2) < 0.01 && Math.Abs(uring - 2) < 0.01);
    }

    private static RingFact EmbeddingSavesTheLoadOfTheHeader(string embedded, string standard)
    {
        AccessRates with = Count(embedded, 1).Device;
        AccessRates without = Count(standard, 1).Device;
        return new RingFact(Embedding, $"A header embedded in the descriptor spares its descriptor and its load ({embedded} against {standard})", Invariant($"{with.Loads:0.##} loads and {with.Lines:0.##} lines a request by the device against {without.Loads:0.##} and {without.Lines:0.##}"), without.Loads - with.Loads > 1.9);
    }

    private static RingFact EmbeddingTheStatusSavesItsLine(string embedded, string header)
    {
        AccessCount with = Count(embedded, 1);
        AccessCount without = Count(header, 1);
        double spared = without.Driver.Transfers + without.Device.Transfers - with.Driver.Transfers - with.Device.Transfers;
        return new RingFact(Embedding, $"A status embedded in the used entry spares the way of its cache line there and back ({embedded} against {header})", Invariant($"{spared:0.##} cache line transfers a request fewer"), spared > 1);
    }

    private static RingFact InOrderAnswersABatchByOneEntry(string standard, string inOrder)
    {
        double each = Count(standard, 1).Device.Stores;
        double batch = Count(inOrder, 1).Device.Stores;
        return new RingFact(Freeing, "In order, a batch of answers is one used entry", Invariant($"{batch:0.##} stores by the device a request against {each:0.##}"), batch < each - 0.5);
    }

    private static AccessCount Count(string design, int segments)
        => AccessCount.Measure(new LabSettings { Design = RingDesigns.Find(design)!, Segments = segments });
}
