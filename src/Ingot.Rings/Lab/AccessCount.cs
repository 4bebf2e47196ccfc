using Ingot.Rings.Memory;

namespace Ingot.Rings.Lab;

/// <summary>What a request costs in accesses to shared memory, counted in the code: the same on every machine.</summary>
/// <param name="Driver">Accesses a request of the side that asks.</param>
/// <param name="Device">Accesses a request of the side that answers.</param>
public sealed record AccessCount(AccessRates Driver, AccessRates Device)
{
    private const int Turns = 1024;
    private const int LineBytes = 64;

    /// <summary>Counts: both sides take turns on this thread, a batch each, with as many requests in flight as the settings say.</summary>
    /// <param name="settings">The workload; its requests and wake-ups don't matter.</param>
    /// <returns>Averages.</returns>
    public static AccessCount Measure(LabSettings settings)
    {
        LabSettings one = settings with { Queues = 1, Processes = false, Wakeup = Wakeup.Polling };
        one.Check();
        var memory = new byte[one.PairBytes + LineBytes];
        var stepper = new Stepper(one, memory);
        return stepper.Count(Turns);
    }

    private sealed class Stepper(LabSettings settings, byte[] memory)
    {
        private readonly CacheModel _caches = new();
        private readonly Workload _workload = new(settings.Segments, settings.DataOffset, 1);
        private readonly Stack<ushort> _free = new(Enumerable.Range(0, settings.Depth).Select(i => (ushort)i));
        private readonly DeviceRequest[] _batch = [.. Enumerable.Range(0, settings.Batch).Select(_ => new DeviceRequest(settings.Segments))];
        private long _number;

        public unsafe AccessCount Count(int turns)
        {
            CacheModel.Current = _caches;
            // SAFETY: the array stays where it is for as long as the rings are used.
            fixed (byte* start = memory)
            {
                var window = new SharedWindow((byte*)(((nint)start + LineBytes - 1) & -LineBytes), settings.PairBytes);
                DriverRing driver = settings.Design.CreateDriver(window, settings.Geometry, counting: true);
                _caches.Side = RingSide.Device;
                DeviceRing device = settings.Design.CreateDevice(window, settings.Geometry, counting: true);
                Fill(driver);
                Run(driver, device, turns);
                _caches.Reset();
                long before = _number;
                Run(driver, device, turns);
                CacheModel.Current = null;
                long requests = _number - before;
                return new AccessCount(AccessRates.Of(_caches.Counts(RingSide.Driver), requests), AccessRates.Of(_caches.Counts(RingSide.Device), requests));
            }
        }

        // From here on as many are in flight as may be.
        private void Fill(DriverRing driver)
        {
            _caches.Side = RingSide.Driver;
            for (long before = -1; before != _number;)
            {
                before = _number;
                AskAndCollect(driver);
            }
        }

        private void Run(DriverRing driver, DeviceRing device, int turns)
        {
            for (int i = 0; i < turns; i++)
            {
                _caches.Side = RingSide.Driver;
                AskAndCollect(driver);
                _caches.EndTurn();
                _caches.Side = RingSide.Device;
                Answer(device);
                _caches.EndTurn();
            }
        }

        private void AskAndCollect(DriverRing driver)
        {
            int taken = 0;
            for (; taken < settings.Batch && driver.TryTakeCompletion(out Completion completion); taken++)
            {
                _free.Push(completion.Token);
            }

            if (taken > 0)
            {
                driver.Acknowledge();
            }

            for (int i = 0; i < settings.Batch && _free.Count > 0; i++)
            {
                if (!driver.TrySubmit(_free.Peek(), _workload.Header(_number), _workload.Segments(_number)))
                {
                    break;
                }

                _free.Pop();
                _number++;
            }

            driver.Publish();
        }

        private void Answer(DeviceRing device)
        {
            int taken = 0;
            while (taken < settings.Batch && device.TryTake(_batch[taken]))
            {
                taken++;
            }

            bool reversed = settings.Order == AnswerOrder.Reversed && !settings.Design.IsInOrder;
            for (int i = 0; i < taken; i++)
            {
                DeviceRequest request = _batch[reversed ? taken - 1 - i : i];
                device.Complete(request.Tag, 0, DeviceLoop.AnswerLength(request.Header, request.Count));
            }

            device.Publish();
        }
    }
}

/// <summary>Accesses of one side a request.</summary>
/// <param name="Loads">Reads.</param>
/// <param name="Stores">Writes.</param>
/// <param name="Lines">Cache lines touched, each once a batch.</param>
/// <param name="Transfers">Cache lines that had to come from the other side, or be taken from it.</param>
public sealed record AccessRates(double Loads, double Stores, double Lines, double Transfers)
{
    internal static AccessRates Of(AccessCounts counts, long requests)
        => new((double)counts.Loads / requests, (double)counts.Stores / requests, (double)counts.Lines / requests, (double)counts.Transfers / requests);
}
